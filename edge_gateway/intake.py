"""From a source into the outbox: stamp, judge, make durable, and only then tell the sender."""

from __future__ import annotations

import asyncio
import json
import logging
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future

from edge_gateway.alarms.evaluator import Alarms
from edge_gateway.errors import OutboxUnavailable
from edge_gateway.inbox import Arrival, DeadLetter, Source
from edge_gateway.outbox.outbox import Outbox
from edge_gateway.outbox.reading_queries import NewReading
from edge_gateway.state import GatewayState
from edge_gateway.uplink.uplink import Uplink
from vitals import rules
from vitals.reading import Reading

log = logging.getLogger(__name__)

_AT_ONCE = 100
"""Arrivals handed to the outbox together: they share its costs, and other tasks wait 10 ms at most."""


class Intake:
    """Takes arrivals of all sources; alarms never wait for the disk, confirmations always do.

    How much may wait for a failing disk is bounded by the sources: what a broker may send unacknowledged, and
    the pace of a radio link.
    """

    def __init__(
        self, gateway_id: str, alarms: Alarms, outbox: Outbox, uplink: Uplink, state: GatewayState
    ) -> None:
        self._gateway_id, self._alarms, self._outbox, self._uplink = gateway_id, alarms, outbox, uplink
        self._state = state
        self._under_way = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._durable: deque[tuple[Future[None], Sequence[Callable[[], None]]]] = deque()
        self._loop = asyncio.get_running_loop()

    async def serve(self, source: Source) -> None:
        """Take what a source receives until cancelled."""
        while True:
            self.take(await source.inbox.take(_AT_ONCE))
            await asyncio.sleep(0)

    async def drained(self) -> None:
        """Wait until all that was taken is durable."""
        await self._idle.wait()

    def take(self, arrivals: Sequence[Arrival]) -> None:
        """Judge arrivals, hand them to the outbox, confirm each once it is durable."""
        self._under_way += len(arrivals)
        self._idle.clear()
        readings, confirms = [], []
        for arrival in arrivals:
            match arrival.content:
                case Reading() as reading:
                    readings.append(self._judged(reading, arrival.again))
                    confirms.append(arrival.confirm)
                case DeadLetter() as letter:
                    body = json.dumps(letter.to_wire(self._gateway_id), separators=(",", ":"))
                    self._keep(self._outbox.append_dead_letter(letter.error_id, body), [arrival.confirm])
        if readings:
            self._keep(self._outbox.append(readings), confirms)

    def _judged(self, reading: Reading, again: bool) -> NewReading:
        if reading.message_id is None:
            raise ValueError("a reading needs a message_id before it is kept")
        stamped = reading.model_copy(update={"gateway_id": self._gateway_id})
        if again:
            self._state.counters.duplicates += 1
        else:
            self._state.counters.received[reading.source.value if reading.source else "unknown"] += 1
            self._judge(stamped)
        body = stamped.model_dump_json(exclude_none=True)
        return NewReading(reading.message_id, stamped.device_id, body, rules.is_critical(stamped))

    def _judge(self, reading: Reading) -> None:
        try:
            self._alarms.judge(reading)
        except Exception:  # a fault of ours must cost neither this reading nor those behind it
            log.exception("a reading could not be judged here; it is kept, and the cloud judges it again")

    def _keep(self, committed: Future[None], confirms: Sequence[Callable[[], None]]) -> None:
        def in_writer_thread(done: Future[None]) -> None:
            self._durable.append((done, confirms))
            if len(self._durable) == 1:  # one wake-up for all that a commit made durable
                self._loop.call_soon_threadsafe(self._confirm)

        committed.add_done_callback(in_writer_thread)

    def _confirm(self) -> None:
        while self._durable:
            done, confirms = self._durable.popleft()
            self._under_way -= len(confirms)
            if error := done.exception():
                level = logging.WARNING if isinstance(error, OutboxUnavailable) else logging.ERROR
                log.log(level, "not durable, and not confirmed to its sender: %s", error)
                continue
            for confirm in confirms:
                _tell(confirm)
        self._uplink.news.set()
        self._uplink.dead_letter_news.set()
        if not self._under_way:
            self._idle.set()


def _tell(confirm: Callable[[], None]) -> None:
    try:
        confirm()
    except Exception:
        log.exception("the sender could not be told that its reading is durable")
