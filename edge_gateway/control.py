"""The control socket of a running gateway: a request is one line of JSON, and so is its answer.

The socket is in the data directory and only its owner may connect (mode 0600). Only the holder of the data
directory's lock serves it, so a socket left behind by a crash is replaced.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any

from edge_gateway.errors import CommandFailed, GatewayError, NotRunning
from edge_gateway.state import GatewayState
from runtime.file_lock import is_locked

log = logging.getLogger(__name__)

Answer = Mapping[str, Any]
Handler = Callable[[Mapping[str, Any]], Awaitable[Answer]]

_LONGEST_REQUEST = 4096
_LONGEST_ANSWER = 1024 * 1024
_REQUEST_TIMEOUT_S, _RETRY_S = 5.0, 10.0


@asynccontextmanager
async def serving(path: Path, handlers: Mapping[str, Handler]) -> AsyncIterator[None]:
    """Serve commands while the context is open.

    Args:
        path: the socket.
        handlers: by command name. The text of a GatewayError that a handler raises becomes the answer.
    """

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            answer = await _answer(reader, handlers)
            writer.write(json.dumps(answer).encode() + b"\n")
            await writer.drain()
        except (OSError, TimeoutError, ValueError) as error:
            log.debug("could not answer a command: %s", error)
        finally:
            writer.close()

    path.unlink(missing_ok=True)  # noqa: ASYNC240 - once, at start
    with _short(path) as name:
        previous_umask = os.umask(0o177)
        try:
            server = await asyncio.start_unix_server(serve, name, limit=_LONGEST_REQUEST)
        finally:
            os.umask(previous_umask)
    try:
        async with server:
            yield
    finally:
        with suppress(OSError):  # clients detect a socket without a server
            path.unlink(missing_ok=True)  # noqa: ASYNC240 - once, at the end


async def serve_commands(path: Path, handlers: Mapping[str, Handler], state: GatewayState) -> None:
    """Serve commands until cancelled; retry while the socket cannot be created."""
    while True:
        try:
            async with serving(path, handlers):
                state.part("commands", "up")
                await asyncio.Event().wait()
        except OSError as error:
            state.part("commands", f"away: no socket in {path.parent}: {error.strerror}")
            await asyncio.sleep(_RETRY_S)


async def ask(path: Path, request: Mapping[str, Any], timeout_s: float) -> Answer:
    """Send a command to the running gateway and return its answer.

    Raises:
        NotRunning: no gateway is running on this data directory.
        CommandFailed: the gateway reported an error or did not answer in time.
    """
    with _short(path) as name:
        try:
            reader, writer = await asyncio.open_unix_connection(name, limit=_LONGEST_ANSWER)
        except OSError as error:
            if is_locked(path.parent):
                raise CommandFailed(
                    f"the gateway on {path.parent} does not accept commands: it is starting, or its disk is"
                    " failing; see its page or its log"
                ) from error
            raise NotRunning(
                f"no gateway is running on {path.parent}: start one with kidjamo-gateway run"
            ) from error
    try:
        async with asyncio.timeout(timeout_s):
            writer.write(json.dumps(request).encode() + b"\n")
            line = await reader.readline()
        answer: dict[str, Any] = json.loads(line)
    except (OSError, TimeoutError, ValueError) as error:
        raise CommandFailed(f"the gateway on {path.parent} does not answer") from error
    finally:
        writer.close()
    if "error" in answer:
        raise CommandFailed(answer["error"])
    return answer


async def _answer(reader: asyncio.StreamReader, handlers: Mapping[str, Handler]) -> Answer:
    async with asyncio.timeout(_REQUEST_TIMEOUT_S):
        line = await reader.readline()
    try:
        request = json.loads(line)
        handler = handlers.get(request["command"])
    except (ValueError, TypeError, KeyError):
        return {"error": "invalid command"}
    if handler is None:
        return {"error": f"unknown command: {request['command']!s:.50}"}
    try:
        return await handler(request)
    except GatewayError as error:
        return {"error": str(error)}
    except Exception:
        log.exception("command %.50r failed", request["command"])
        return {"error": "internal error, see the gateway's log"}


@contextmanager
def _short(path: Path) -> Iterator[str]:
    """Yield a name for the socket that fits into the 107 bytes of an address, for any directory (Linux)."""
    try:
        directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise NotRunning(f"there is no data directory {path.parent}") from error
    try:
        yield f"/proc/self/fd/{directory}/{path.name}"
    finally:
        with suppress(OSError):
            os.close(directory)
