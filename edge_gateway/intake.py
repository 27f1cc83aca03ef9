"""From a source into the outbox: stamp, judge, make durable, and only then tell the sender."""

from __future__ import annotations

import asyncio
import json
import logging
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from typing import Any

from edge_gateway.alarms import Alarms
from edge_gateway.arrival import Arrival, DeadLetter, Source
from edge_gateway.errors import OutboxUnavailable
from edge_gateway.outbox import Outbox
from edge_gateway.state import GatewayState
from edge_gateway.store import NewReading
from edge_gateway.uplink import Uplink
from vitals import rules
from vitals.reading import Reading

log = logging.getLogger(__name__)

_MOST_UNDER_WAY, _MOST_IN_TROUBLE = 5000, 50_000
"""Arrivals handed to the outbox and not durable yet, before sources have to wait: alarms go on for as long as
the memory of a small machine allows (some 100 MB) while the disk takes nothing."""


_LOOK_AGAIN_S = 1.0


class Intake:
    """Takes arrivals of all sources; alarms never wait for the disk, confirmations always do."""

    def __init__(
        self, gateway_id: str, alarms: Alarms, outbox: Outbox, uplink: Uplink, state: GatewayState
    ) -> None:
        self._gateway_id, self._alarms, self._outbox, self._uplink = gateway_id, alarms, outbox, uplink
        self._state = state
        self._under_way = 0
        self._less = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._durable: deque[tuple[Future[Any], Callable[[], None]]] = deque()
        self._loop = asyncio.get_running_loop()

    async def serve(self, source: Source) -> None:
        """Take what a source receives until cancelled."""
        async for arrival in source.inbox:
            while self._under_way >= (_MOST_IN_TROUBLE if self._outbox.trouble else _MOST_UNDER_WAY):
                self._less.clear()
                with suppress(TimeoutError):  # the outbox may be in trouble by now
                    async with asyncio.timeout(_LOOK_AGAIN_S):
                        await self._less.wait()
            self.take(arrival)

    async def drained(self) -> None:
        """Wait until all that was taken is durable."""
        await self._idle.wait()

    def take(self, arrival: Arrival) -> None:
        """Judge an arrival, hand it to the outbox, confirm it once it is durable."""
        self._under_way += 1
        self._idle.clear()
        match arrival.content:
            case Reading() as reading:
                self._keep(self._reading(reading, arrival.again), arrival.confirm)
            case DeadLetter() as letter:
                body = json.dumps(letter.to_wire(self._gateway_id), separators=(",", ":"))
                self._keep(self._outbox.bury(letter.error_id, body), arrival.confirm)

    def _reading(self, reading: Reading, again: bool) -> Future[None]:
        stamped = reading.model_copy(update={"gateway_id": self._gateway_id})
        if again:
            self._state.counters.duplicates += 1
        else:
            self._state.counters.received[reading.source.value if reading.source else "unknown"] += 1
            self._alarms.judge(stamped)
        if stamped.message_id is None:
            raise ValueError("a reading needs a message_id before it is kept")
        body = stamped.model_dump_json(exclude_none=True)
        critical = rules.is_critical(stamped)
        return self._outbox.append([NewReading(stamped.message_id, stamped.device_id, body, critical)])

    def _keep(self, committed: Future[Any], confirm: Callable[[], None]) -> None:
        def in_writer_thread(done: Future[Any]) -> None:
            self._durable.append((done, confirm))
            if len(self._durable) == 1:  # one wake-up for all that a commit made durable
                self._loop.call_soon_threadsafe(self._confirm)

        committed.add_done_callback(in_writer_thread)

    def _confirm(self) -> None:
        while self._durable:
            done, confirm = self._durable.popleft()
            self._under_way -= 1
            if error := done.exception():
                level = logging.WARNING if isinstance(error, OutboxUnavailable) else logging.ERROR
                log.log(level, "not durable, and not confirmed to its sender: %s", error)
                continue
            try:
                confirm()
            except Exception:
                log.exception("the sender could not be told that its reading is durable")
        self._less.set()
        self._uplink.news.set()
        self._uplink.dead_letter_news.set()
        if not self._under_way:
            self._idle.set()
