"""One connection to a bracelet: subscribe, fetch what was missed, take what comes, release what is safe."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol, TypeVar
from uuid import UUID

from edge_gateway.ble import missing_value
from edge_gateway.ble.clock_sync import ClockSync, EraStore
from edge_gateway.ble.malformed import malformed
from edge_gateway.ble.peripheral import Peripheral
from edge_gateway.ble.records import reading_of
from edge_gateway.ble.sequence import Sequence
from edge_gateway.errors import LinkLost, OutboxUnavailable
from edge_gateway.inbox import Inbox, InboxItem
from edge_gateway.outbox.device_queries import Progress
from edge_gateway.state import GatewayState
from vitals.absence import Absence
from vitals.errors import MalformedRecord
from vitals.gatt import bracelet, record_access
from vitals.gatt.bracelet import BraceletRecord, BraceletStatus
from vitals.gatt.record_access import OpCode, Request, Response, ResponseCode
from vitals.reading import derived_message_id

log = logging.getLogger(__name__)

_ANSWER_S = 10.0
"""Longest silence of a bracelet while it owes an answer."""
_RELEASE_EVERY_S = 2.0
_QUIET_S = 5.0
_T = TypeVar("_T")
_REMEMBERED = 20_000
"""Identities remembered to know a record that comes twice: five hours of one a second."""


class ProgressStore(EraStore, Protocol):
    """Where it is noted how far a bracelet's records are committed."""

    async def progress(self, device_id: str) -> Progress | None:
        """How far they are."""

    async def save_progress(self, device_id: str, progress: Progress) -> None:
        """Note how far they are."""


@dataclass(frozen=True, slots=True)
class DeviceAssignment:
    """A bracelet of the list and who wears it."""

    device_id: str
    patient_id: str


class BraceletSession:
    """Works one connection until it ends.

    Attributes:
        garbled: how much could not be understood since anything last could.

    Args:
        on_heard: called for everything the bracelet sends.
        on_complete: called each time nothing is left to fetch.
    """

    def __init__(
        self,
        assignment: DeviceAssignment,
        peripheral: Peripheral,
        store: ProgressStore,
        inbox: Inbox,
        state: GatewayState,
        on_heard: Callable[[], None],
        on_complete: Callable[[], None],
    ) -> None:
        self._assignment, self._peripheral, self._store, self._inbox = assignment, peripheral, store, inbox
        self._state, self._on_heard, self._on_complete = state, on_heard, on_complete
        self._seen: set[UUID] = set()
        self._seen_in_order: deque[UUID] = deque()
        self._news = asyncio.Event()
        self._answers: asyncio.Queue[Response] = asyncio.Queue()
        self._stored_at = 0.0
        self._released: Progress | None = None
        self.garbled = 0
        self._clock = ClockSync(assignment.device_id, peripheral, store, state)
        self._restarted = False
        self._missing = 0

    async def run(self) -> None:
        """Run until cancelled.

        Raises:
            LinkLost: the bracelet does not answer, or answers what cannot be understood.
        """
        await self._begin()
        await self._peripheral.subscribe(bracelet.LIVE_RECORD, self._on_live)
        await self._peripheral.subscribe(bracelet.STATUS, self._on_status)
        await self._peripheral.subscribe(bracelet.STORED_RECORD, self._on_stored)
        await self._peripheral.subscribe(bracelet.RECORD_ACCESS, self._on_answer)
        while True:
            self._news.clear()
            while self._restarted:
                await self._begin()
            await self._understood(self._clock.keep_right())
            while self._sequence.must_fetch and not self._restarted:
                await self._fetch()
            if self._restarted:
                continue
            self._on_complete()
            self._count_missing()
            await self._release()
            await self._wait_for_news()
            await asyncio.sleep(0 if self._sequence.must_fetch else _RELEASE_EVERY_S)

    async def _wait_for_news(self) -> None:
        """A bracelet that says nothing is asked: its last notification may be lost, and it may be gone."""
        while not self._news.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(_QUIET_S):
                    await self._news.wait()
                return
            status = await self._understood(self._clock.look())
            self._hear()
            self._note_status(status)
            if self._sequence.must_fetch:
                return

    async def _begin(self) -> None:
        """Learn what the bracelet holds and how its clock stands."""
        self._restarted = False
        status = await self._understood(self._clock.look())
        known = await self._store.progress(self._assignment.device_id)
        if known and known.boot != status.boot:
            self._notice("it restarted")
        self._sequence = Sequence.begin(status, known)
        self._released, self._missing = None, 0

    async def _understood(self, look: Awaitable[_T]) -> _T:
        """What a look at the bracelet's status gives; without it there is nothing to go by."""
        try:
            return await look
        except MalformedRecord as error:
            self._add_dead_letter(error.data, error)
            raise LinkLost("its status cannot be understood") from None

    def _count_missing(self) -> None:
        if lost := self._sequence.missing - self._missing:
            self._state.counters.records_missing += lost
            log.warning("%s: %d records are no longer in its flash", self._assignment.device_id, lost)
            self._notice(f"{lost} records are no longer in its flash")
            self._missing += lost

    async def _fetch(self) -> None:
        """Have the bracelet report what is missing; patient for as long as records keep coming."""
        self._stored_at = time.monotonic()
        outcome = await self._ask(Request.report_from(self._sequence.fetch_from))
        if outcome not in (ResponseCode.SUCCESS, ResponseCode.NO_RECORDS):
            raise LinkLost(f"it did not report its records: {outcome.name}")
        if not self._restarted:
            self._sequence.report_complete()

    async def _release(self) -> None:
        """Let the bracelet reuse the flash of what is durable; noted first, or a crash looks like a loss."""
        progress = self._sequence.progress
        if progress is None or progress == self._released:
            return
        try:
            await self._store.save_progress(self._assignment.device_id, progress)
        except OutboxUnavailable as error:  # it keeps its records for longer; live ones are taken meanwhile
            log.debug("%s: nothing is released: %s", self._assignment.device_id, error)
            return
        if self._restarted:
            return  # these numbers are not those of what is in its flash now
        outcome = await self._ask(Request.release_up_to(progress.seq))
        if outcome in (ResponseCode.SUCCESS, ResponseCode.NO_RECORDS):
            self._released = progress
        else:
            log.warning("%s did not release records: %s", self._assignment.device_id, outcome.name)

    async def _ask(self, request: Request) -> ResponseCode:
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
                return answer.code

    def _on_answer(self, data: bytes) -> None:
        try:
            answer = record_access.parse_indication(data)
        except MalformedRecord as error:
            self._add_dead_letter(data, error)
            return
        self._hear()
        if isinstance(answer, Response) and answer.request is not OpCode.ABORT:
            self._answers.put_nowait(answer)

    def _on_status(self, data: bytes) -> None:
        try:
            status = self._clock.note(data, datetime.now(UTC))
        except MalformedRecord as error:
            self._add_dead_letter(data, error)
            return
        self._hear()
        self._note_status(status)
        self._news.set()

    def _on_live(self, data: bytes) -> None:
        self._take(data, live=True)

    def _on_stored(self, data: bytes) -> None:
        self._stored_at = time.monotonic()
        self._take(data, live=False)

    def _take(self, data: bytes, *, live: bool) -> None:
        assignment = self._assignment
        try:
            record = BraceletRecord.from_bytes(data)
            identity = derived_message_id(
                assignment.device_id, record.boot, record.seq, record.device_time_ms
            )
            reading = reading_of(
                record,
                identity,
                assignment.device_id,
                assignment.patient_id,
                self._clock.clock,
                datetime.now(UTC),
                live=live,
            )
        except MalformedRecord as error:
            self._add_dead_letter(data, error)
            return
        self._hear()
        if live:
            self._note_restart(record.boot)
            if self._clock.doubts(record):
                self._news.set()
        sequence = self._sequence
        if not self._restarted:
            sequence.receive(record.seq, identity)
        again = self._known(identity)
        if live:
            self._absent(None if reading else missing_value.of_record(record.flags))
        if reading is None:
            self._no_value(record, again)
            self._durable(sequence, record.seq, identity)
            return
        self._inbox.put(InboxItem(reading, lambda: self._durable(sequence, record.seq, identity), again))

    def _note_status(self, status: BraceletStatus) -> None:
        self._note_restart(status.boot)
        self._sequence.exists(status)

    def _note_restart(self, boot: int) -> None:
        """A bracelet that restarts while the link holds counts anew: what it has is looked at again."""
        if boot != self._sequence.boot:
            self._restarted = True
            self._news.set()

    def _durable(self, sequence: Sequence, seq: int, identity: UUID) -> None:
        """Only the count it was received in: after a restart the same number may be another record."""
        sequence.commit(seq, identity)
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
            reason = missing_value.of_record(record.flags)
            self._state.counters.no_value[reason.value] += 1
            log.debug(
                "%s: record %d holds no value: %s", self._assignment.device_id, record.seq, reason.value
            )

    def _add_dead_letter(self, data: bytes, error: MalformedRecord) -> None:
        self.garbled += 1
        self._inbox.put(InboxItem(malformed(self._assignment.device_id, data, error, self._state)))

    def _hear(self) -> None:
        self.garbled = 0
        self._on_heard()

    def _absent(self, reason: Absence | None) -> None:
        self._state.absence(self._assignment.device_id, "ble", reason)

    def _notice(self, text: str) -> None:
        self._state.notice(self._assignment.device_id, "ble", text)
