"""One connection to a bracelet: subscribe, fetch what was missed, take what comes, release what is safe."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol
from uuid import UUID, uuid5

from edge_gateway.arrival import Arrival, DeadLetter, Inbox
from edge_gateway.errors import LinkLost
from edge_gateway.records import BraceletClock, reading_of
from edge_gateway.sequence import Sequence
from edge_gateway.state import GatewayState
from edge_gateway.store import Progress
from vitals.errors import MalformedRecord
from vitals.gatt import bracelet, record_access
from vitals.gatt.bracelet import BraceletRecord, BraceletStatus
from vitals.gatt.record_access import OpCode, Outcome, Request, Response
from vitals.reading import NAMESPACE, derived_message_id

log = logging.getLogger(__name__)

_ANSWER_S = 10.0
"""Longest silence of a bracelet while it owes an answer."""
_RELEASE_EVERY_S = 2.0
_REMEMBERED = 20_000
"""Identities remembered to know a record that comes twice: five hours of one a second."""

OnData = Callable[[bytes], None]


class Peripheral(Protocol):
    """What a session needs of a connected bracelet; errors are LinkLost."""

    async def read(self, uuid: str) -> bytes:
        """Read a characteristic."""

    async def subscribe(self, uuid: str, on_data: OnData) -> None:
        """Have notifications or indications of a characteristic."""

    async def write(self, uuid: str, data: bytes) -> None:
        """Write a characteristic and wait for the response."""


class ProgressBook(Protocol):
    """Where it is noted how far a bracelet's records are committed."""

    async def progress(self, device_id: str) -> Progress | None:
        """How far they are."""

    async def remember(self, device_id: str, progress: Progress) -> None:
        """Note how far they are."""


@dataclass(frozen=True, slots=True)
class Wearer:
    """A bracelet of the list and who wears it."""

    device_id: str
    patient_id: str


class BraceletSession:
    """Works one connection until it ends.

    Args:
        on_heard: called for everything the bracelet sends.
        on_complete: called each time nothing is left to fetch.
    """

    def __init__(
        self,
        wearer: Wearer,
        peripheral: Peripheral,
        book: ProgressBook,
        inbox: Inbox,
        state: GatewayState,
        on_heard: Callable[[], None],
        on_complete: Callable[[], None],
    ) -> None:
        self._wearer, self._peripheral, self._book, self._inbox = wearer, peripheral, book, inbox
        self._state, self._on_heard, self._on_complete = state, on_heard, on_complete
        self._seen: set[UUID] = set()
        self._seen_in_order: deque[UUID] = deque()
        self._news = asyncio.Event()
        self._answers: asyncio.Queue[Response] = asyncio.Queue()
        self._stored_at = 0.0
        self._released: Progress | None = None

    async def run(self) -> None:
        """Run until cancelled.

        Raises:
            LinkLost: the bracelet does not answer, or answers what cannot be understood.
        """
        status = self._status(await self._peripheral.read(bracelet.STATUS))
        if status is None:
            raise LinkLost("its status cannot be understood")
        known = await self._book.progress(self._wearer.device_id)
        self._sequence = Sequence.begin(status, known)
        await self._peripheral.subscribe(bracelet.LIVE_RECORD, self._on_live)
        await self._peripheral.subscribe(bracelet.STATUS, self._on_status)
        await self._peripheral.subscribe(bracelet.STORED_RECORD, self._on_stored)
        await self._peripheral.subscribe(bracelet.RECORD_ACCESS, self._on_answer)
        reported = 0
        while True:
            self._news.clear()
            while self._sequence.must_fetch:
                await self._fetch()
            self._on_complete()
            if lost := self._sequence.missing - reported:
                self._state.counters.records_missing += lost
                log.warning("%s: %d records are no longer in its flash", self._wearer.device_id, lost)
                reported += lost
            await self._release()
            await self._news.wait()
            await asyncio.sleep(0 if self._sequence.must_fetch else _RELEASE_EVERY_S)

    async def _fetch(self) -> None:
        """Have the bracelet report what is missing; patient for as long as records keep coming."""
        self._stored_at = time.monotonic()
        outcome = await self._ask(Request.report_from(self._sequence.fetch_from))
        if outcome not in (Outcome.SUCCESS, Outcome.NO_RECORDS):
            raise LinkLost(f"it did not report its records: {outcome.name}")
        self._sequence.report_complete()

    async def _release(self) -> None:
        """Let the bracelet reuse the flash of what is durable; noted first, or a crash looks like a loss."""
        progress = self._sequence.progress
        if progress is None or progress == self._released:
            return
        await self._book.remember(self._wearer.device_id, progress)
        outcome = await self._ask(Request.release_up_to(progress.seq))
        if outcome in (Outcome.SUCCESS, Outcome.NO_RECORDS):
            self._released = progress
        else:
            log.warning("%s did not release records: %s", self._wearer.device_id, outcome.name)

    async def _ask(self, request: Request) -> Outcome:
        while not self._answers.empty():
            self._answers.get_nowait()
        await self._peripheral.write(bracelet.RECORD_ACCESS, bytes(request))
        asked = time.monotonic()
        while True:
            try:
                async with asyncio.timeout(1.0):
                    answer = await self._answers.get()
            except TimeoutError:
                if time.monotonic() - max(asked, self._stored_at) > _ANSWER_S:
                    raise LinkLost(f"no answer to {request.op_code.name}") from None
                continue
            if answer.request is request.op_code:
                return answer.outcome

    def _on_answer(self, data: bytes) -> None:
        self._on_heard()
        try:
            answer = record_access.parse_indication(data)
        except MalformedRecord as error:
            self._bury(data, error)
            return
        if isinstance(answer, Response) and answer.request is not OpCode.ABORT:
            self._answers.put_nowait(answer)

    def _on_status(self, data: bytes) -> None:
        self._on_heard()
        self._status(data)

    def _status(self, data: bytes) -> BraceletStatus | None:
        try:
            status = BraceletStatus.from_bytes(data)
        except MalformedRecord as error:
            self._bury(data, error)
            return None
        self._clock = BraceletClock(status, datetime.now(UTC))
        device_id = self._wearer.device_id
        known = self._state.links.get(device_id)
        self._state.link(
            device_id, "ble", known.state if known else "fetching", battery_pct=status.battery_pct
        )
        return status

    def _on_live(self, data: bytes) -> None:
        self._take(data, live=True)

    def _on_stored(self, data: bytes) -> None:
        self._stored_at = time.monotonic()
        self._take(data, live=False)

    def _take(self, data: bytes, *, live: bool) -> None:
        self._on_heard()
        wearer = self._wearer
        try:
            record = BraceletRecord.from_bytes(data)
            identity = derived_message_id(wearer.device_id, record.boot, record.seq, record.device_time_ms)
            reading = reading_of(
                record,
                identity,
                wearer.device_id,
                wearer.patient_id,
                self._clock,
                datetime.now(UTC),
                live=live,
            )
        except MalformedRecord as error:
            self._bury(data, error)
            return
        self._sequence.receive(record.seq, identity)
        again = self._known(identity)
        if reading is None:
            self._no_value(record, again)
            self._durable(record, identity)
            return
        self._inbox.put(Arrival(reading, lambda: self._durable(record, identity), again))

    def _durable(self, record: BraceletRecord, identity: UUID) -> None:
        self._sequence.commit(record.seq, identity)
        self._news.set()

    def _known(self, identity: UUID) -> bool:
        """Whether this connection brought the record before."""
        if identity in self._seen:
            return True
        self._seen.add(identity)
        self._seen_in_order.append(identity)
        if len(self._seen_in_order) > _REMEMBERED:
            self._seen.discard(self._seen_in_order.popleft())
        return False

    def _no_value(self, record: BraceletRecord, again: bool) -> None:
        if not again:
            self._state.counters.no_value[self._wearer.device_id] += 1
            log.debug("%s: record %d holds no value", self._wearer.device_id, record.seq)

    def _bury(self, data: bytes, error: MalformedRecord) -> None:
        device_id = self._wearer.device_id
        self._state.counters.refused[error.profile] += 1
        log.warning("%s sent what cannot be understood: %s", device_id, error.reason)
        # the same bytes fetched again are the same dead letter
        identity = uuid5(NAMESPACE, f"{device_id}/{error.profile}/{data.hex()}")
        reason = f"{error.profile}: {error.reason}"
        self._inbox.put(Arrival(DeadLetter.of(data, reason, device_id=device_id, error_id=identity)))
