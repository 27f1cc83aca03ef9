"""The socket at which a running gateway takes commands: one line of JSON asks, one line answers.

It lies in the data directory and is its owner's alone (mode 0600). The data directory's lock says who may
serve, so a socket that a crash has left behind is simply replaced.
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
_REQUEST_S, _AGAIN_S = 5.0, 10.0


@asynccontextmanager
async def serving(path: Path, handlers: Mapping[str, Handler]) -> AsyncIterator[None]:
    """Answer commands inside.

    Args:
        path: the socket.
        handlers: what to do for each command; one that raises a GatewayError answers with its text.
    """

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            answer = await _answer(reader, handlers)
            writer.write(json.dumps(answer).encode() + b"\n")
            await writer.drain()
        except (OSError, TimeoutError, ValueError) as error:
            log.debug("a command was not answered: %s", error)
        finally:
            writer.close()

    path.unlink(missing_ok=True)  # noqa: ASYNC240 - once, at start
    with _short(path) as name:
        old = os.umask(0o177)
        try:
            server = await asyncio.start_unix_server(serve, name, limit=_LONGEST_REQUEST)
        finally:
            os.umask(old)
    try:
        async with server:
            yield
    finally:
        with suppress(OSError):  # a socket nobody serves says as much
            path.unlink(missing_ok=True)  # noqa: ASYNC240 - once, at the end


async def serve_commands(path: Path, handlers: Mapping[str, Handler], state: GatewayState) -> None:
    """Answer commands until cancelled; where the disk has no place for the socket, try again."""
    while True:
        try:
            async with serving(path, handlers):
                state.part("commands", "up")
                await asyncio.Event().wait()
        except OSError as error:
            state.part("commands", f"away: no socket in {path.parent}: {error.strerror}")
            await asyncio.sleep(_AGAIN_S)


async def ask(path: Path, request: Mapping[str, Any], timeout_s: float) -> Answer:
    """Have a running gateway carry out a command.

    Raises:
        NotRunning: no gateway listens there.
        CommandFailed: it could not do it, or does not answer.
    """
    with _short(path) as name:
        try:
            reader, writer = await asyncio.open_unix_connection(name, limit=_LONGEST_ANSWER)
        except OSError as error:
            if is_locked(path.parent):
                raise CommandFailed(
                    f"the gateway on {path.parent} takes no commands: it is just starting, or its disk fails;"
                    " see its page or its log"
                ) from error
            raise NotRunning(
                f"no gateway runs on {path.parent}: start one with kidjamo-gateway run"
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
    async with asyncio.timeout(_REQUEST_S):
        line = await reader.readline()
    try:
        request = json.loads(line)
        handler = handlers.get(request["command"])
    except (ValueError, TypeError, KeyError):
        return {"error": "not a command"}
    if handler is None:
        return {"error": f"no such command here: {request['command']!s:.50}"}
    try:
        return await handler(request)
    except GatewayError as error:
        return {"error": str(error)}
    except Exception:
        log.exception("command %.50r failed", request["command"])
        return {"error": "internal error, see the gateway's log"}


@contextmanager
def _short(path: Path) -> Iterator[str]:
    """A name for the socket that fits into 107 bytes, however deep its directory lies (Linux)."""
    try:
        directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise NotRunning(f"there is no data directory {path.parent}") from error
    try:
        yield f"/proc/self/fd/{directory}/{path.name}"
    finally:
        with suppress(OSError):
            os.close(directory)
