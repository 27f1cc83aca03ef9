"""A load generator that costs little itself: raw HTTP/1.1 over a few lasting connections."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from types import TracebackType
from typing import Self


class LoadConnection:
    """One lasting connection to a server on loopback."""

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
        """Send a body; returns the answer's status."""
        self._writer.write(b"%bContent-Length: %d\r\n\r\n%b" % (self._head, len(body), body))
        head = await self._reader.readuntil(b"\r\n\r\n")
        length = head.lower().split(b"content-length:")[1].split(b"\r\n")[0]
        await self._reader.readexactly(int(length))
        return int(head.split(b" ", 2)[1])


async def flood(port: int, path: str, bodies: Iterable[bytes], connections: int) -> float:
    """Send bodies as fast as they are answered, so many at a time; returns the seconds it took.

    Raises:
        RuntimeError: an answer was not 200.
    """
    todo = iter(bodies)
    began = time.monotonic()

    async def one() -> None:
        async with LoadConnection(port, path) as connection:
            for body in todo:
                if (status := await connection.post(body)) != 200:
                    raise RuntimeError(f"answered {status}")

    async with asyncio.TaskGroup() as group:
        for _ in range(connections):
            group.create_task(one())
    return time.monotonic() - began


async def steady(
    port: int, path: str, bodies: Iterable[bytes], per_s: float, connections: int
) -> list[float]:
    """Send bodies at a steady rate, whatever the answers take; returns seconds to each answer.

    The time counts from when a body was due, so that waiting for a free connection is part of it.
    """
    due: asyncio.Queue[tuple[float, bytes] | None] = asyncio.Queue()
    waits: list[float] = []

    async def one() -> None:
        async with LoadConnection(port, path) as connection:
            while (item := await due.get()) is not None:
                if (status := await connection.post(item[1])) != 200:
                    raise RuntimeError(f"answered {status}")
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
