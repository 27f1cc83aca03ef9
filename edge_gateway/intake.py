"""Takes items from the sources: evaluates the rules, stores them in the outbox, confirms what is durable."""

from __future__ import annotations

import asyncio
import json
import logging
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future

from edge_gateway.alarms.evaluator import AlarmEvaluator
from edge_gateway.errors import OutboxUnavailable
from edge_gateway.inbox import DeadLetter, InboxItem, ReadingSource
from edge_gateway.outbox.outbox import Outbox
from edge_gateway.outbox.reading_queries import NewReading
from edge_gateway.state import GatewayState
from edge_gateway.uplink.uplink import Uplink
from vitals import rules
from vitals.reading import Reading

log = logging.getLogger(__name__)

_BATCH_SIZE = 100
"""Items passed to the outbox together: they share its costs, and block the event loop for 10 ms at most."""


class Intake:
    """Processes the items of all sources. Alarms never wait for the disk; confirmations always do.

    The sources bound how much can wait for a failing disk: MQTT by the number of unacknowledged messages, BLE
    by the throughput of the link.
    """

    def __init__(
        self,
        gateway_id: str,
        evaluator: AlarmEvaluator,
        outbox: Outbox,
        uplink: Uplink,
        state: GatewayState,
    ) -> None:
        self._gateway_id, self._evaluator, self._outbox = gateway_id, evaluator, outbox
        self._uplink, self._state = uplink, state
        self._unconfirmed = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._committed: deque[tuple[Future[None], Sequence[Callable[[], None]]]] = deque()
        self._loop = asyncio.get_running_loop()

    async def serve(self, source: ReadingSource) -> None:
        """Process the items of one source until cancelled."""
        while True:
            self.take(await source.inbox.take(_BATCH_SIZE))
            await asyncio.sleep(0)

    async def drained(self) -> None:
        """Wait until every item taken so far is durable."""
        await self._idle.wait()

    def take(self, items: Sequence[InboxItem]) -> None:
        """Evaluate items, pass them to the outbox, and confirm each once it is durable."""
        self._unconfirmed += len(items)
        self._idle.clear()
        readings, confirms = [], []
        for item in items:
            match item.content:
                case Reading() as reading:
                    readings.append(self._process(reading, item.duplicate))
                    confirms.append(item.confirm)
                case DeadLetter() as letter:
                    body = json.dumps(letter.to_wire(self._gateway_id), separators=(",", ":"))
                    self._confirm_when(self._outbox.append_dead_letter(letter.error_id, body), [item.confirm])
        if readings:
            self._confirm_when(self._outbox.append(readings), confirms)

    def _process(self, reading: Reading, duplicate: bool) -> NewReading:
        if (message_id := reading.message_id) is None:
            raise ValueError("a reading needs a message_id before it is stored")
        reading = reading.model_copy(update={"gateway_id": self._gateway_id})
        if duplicate:
            self._state.counters.duplicates += 1
        else:
            self._state.counters.received[reading.source.value if reading.source else "unknown"] += 1
            self._evaluate(reading)
        body = reading.model_dump_json(exclude_none=True)
        return NewReading(message_id, reading.device_id, body, rules.is_critical(reading))

    def _evaluate(self, reading: Reading) -> None:
        try:
            self._evaluator.evaluate(reading)
        except Exception:  # an internal error must lose neither this reading nor the next ones
            log.exception("a reading could not be evaluated here; it is stored, and the cloud evaluates it")

    def _confirm_when(self, commit: Future[None], confirms: Sequence[Callable[[], None]]) -> None:
        def in_writer_thread(done: Future[None]) -> None:
            self._committed.append((done, confirms))
            if len(self._committed) == 1:  # one wake-up for everything that a commit made durable
                self._loop.call_soon_threadsafe(self._confirm_committed)

        commit.add_done_callback(in_writer_thread)

    def _confirm_committed(self) -> None:
        while self._committed:
            commit, confirms = self._committed.popleft()
            self._unconfirmed -= len(confirms)
            if error := commit.exception():
                level = logging.WARNING if isinstance(error, OutboxUnavailable) else logging.ERROR
                log.log(level, "not durable, so not confirmed to the sender: %s", error)
                continue
            for confirm in confirms:
                _confirm(confirm)
        self._uplink.news.set()
        self._uplink.dead_letter_news.set()
        if not self._unconfirmed:
            self._idle.set()


def _confirm(confirm: Callable[[], None]) -> None:
    try:
        confirm()
    except Exception:
        log.exception("a durable reading could not be confirmed to its sender")
