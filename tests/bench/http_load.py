"""A load generator with low overhead: raw HTTP/1.1 over a few persistent connections."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from types import TracebackType
from typing import Self


class LoadConnection:
    """One persistent connection to a server on loopback."""

    def __init__(self, port: int, path: str) -> None:
        self._port = port
        self._head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n".encode()

    async def __aenter__(self) -> Self:
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._writer.close()

    async def post(self, body: bytes) -> int:
        """Send a body; return the response's status."""
        self._writer.write(b"%bContent-Length: %d\r\n\r\n%b" % (self._head, len(body), body))
        head = await self._reader.readuntil(b"\r\n\r\n")
        length = head.lower().split(b"content-length:")[1].split(b"\r\n")[0]
        await self._reader.readexactly(int(length))
        return int(head.split(b" ", 2)[1])


async def flood(port: int, path: str, bodies: Iterable[bytes], connections: int) -> float:
    """Send bodies over some connections as fast as possible; return the duration in seconds.

    Raises:
        RuntimeError: a response was not 200.
    """
    pending = iter(bodies)
    began = time.monotonic()

    async def one() -> None:
        async with LoadConnection(port, path) as connection:
            for body in pending:
                if (status := await connection.post(body)) != 200:
                    raise RuntimeError(f"status {status}")

    async with asyncio.TaskGroup() as group:
        for _ in range(connections):
            group.create_task(one())
    return time.monotonic() - began


async def steady(
    port: int, path: str, bodies: Iterable[bytes], per_s: float, connections: int
) -> list[float]:
    """Send bodies at a steady rate, independent of the responses; return the seconds to each response.

    Times start when a body is due, so that waiting for a free connection is included.
    """
    due: asyncio.Queue[tuple[float, bytes] | None] = asyncio.Queue()
    waits: list[float] = []

    async def one() -> None:
        async with LoadConnection(port, path) as connection:
            while (item := await due.get()) is not None:
                if (status := await connection.post(item[1])) != 200:
                    raise RuntimeError(f"status {status}")
                waits.append(time.monotonic() - item[0])

    async with asyncio.TaskGroup() as group:
        for _ in range(connections):
            group.create_task(one())
        began = time.monotonic()
        for number, body in enumerate(bodies):
            at = began + number / per_s
            if (pause := at - time.monotonic()) > 0:
                await asyncio.sleep(pause)
            due.put_nowait((at, body))
        for _ in range(connections):
            due.put_nowait(None)
    return waits
