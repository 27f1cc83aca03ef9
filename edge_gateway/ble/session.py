"""One connection to a bracelet: subscribe, fetch missed records, receive live ones, release durable ones."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Protocol, TypeVar
from uuid import UUID

from edge_gateway.ble import missing_value
from edge_gateway.ble.assignment import DeviceAssignment
from edge_gateway.ble.clock_sync import ClockSync, EraStore
from edge_gateway.ble.malformed import malformed
from edge_gateway.ble.peripheral import Peripheral
from edge_gateway.ble.record_access import RecordAccess
from edge_gateway.ble.records import reading_of
from edge_gateway.ble.sequence import Sequence
from edge_gateway.errors import LinkLost, OutboxUnavailable
from edge_gateway.inbox import Inbox, InboxItem
from edge_gateway.outbox.device_queries import Progress
from edge_gateway.state import GatewayState
from vitals.errors import MalformedRecord
from vitals.gatt import bracelet
from vitals.gatt.bracelet import BraceletRecord, BraceletStatus
from vitals.gatt.record_access import Request, ResponseCode
from vitals.reading import derived_message_id

log = logging.getLogger(__name__)

_RELEASE_EVERY_S = 2.0
_QUIET_S = 5.0
_T = TypeVar("_T")
_MOST_IDENTITIES = 20_000
"""Identities kept to recognise a repeated record: five hours at one record per second."""


class ProgressStore(EraStore, Protocol):
    """Stores how far bracelets' records are committed."""

    async def progress(self, device_id: str) -> Progress | None:
        """Return how far a bracelet's records are committed."""

    async def save_progress(self, device_id: str, progress: Progress) -> None:
        """Store how far a bracelet's records are committed."""


class BraceletSession:
    """Runs one connection until it ends.

    Args:
        on_data: called for all data from the bracelet that can be parsed.
        on_complete: called each time nothing is left to fetch.

    Attributes:
        consecutive_malformed: pieces of data in a row that could not be parsed.
    """

    def __init__(
        self,
        assignment: DeviceAssignment,
        peripheral: Peripheral,
        store: ProgressStore,
        inbox: Inbox,
        state: GatewayState,
        on_data: Callable[[], None],
        on_complete: Callable[[], None],
    ) -> None:
        self._assignment, self._peripheral, self._store, self._inbox = assignment, peripheral, store, inbox
        self._state, self._on_data, self._on_complete = state, on_data, on_complete
        self.consecutive_malformed = 0
        self._identities = _RecentIdentities()
        self._news = asyncio.Event()
        self._record_access = RecordAccess(peripheral)
        self._clock = ClockSync(assignment.device_id, peripheral, store, state)
        self._released: Progress | None = None
        self._restarted = False
        self._missing = 0

    async def run(self) -> None:
        """Run until cancelled.

        Raises:
            LinkLost: the bracelet does not answer, or its answer cannot be parsed.
        """
        await self._begin()
        await self._peripheral.subscribe(bracelet.LIVE_RECORD, self._on_live)
        await self._peripheral.subscribe(bracelet.STATUS, self._on_status)
        await self._peripheral.subscribe(bracelet.STORED_RECORD, self._on_stored)
        await self._peripheral.subscribe(bracelet.RECORD_ACCESS, self._on_record_access)
        while True:
            self._news.clear()
            while self._restarted:
                await self._begin()
            await self._parsed(self._clock.check_again())
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
        """Wait for data; read the status of a quiet bracelet, since its last notification may be lost."""
        while not self._news.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(_QUIET_S):
                    await self._news.wait()
                return
            status = await self._parsed(self._clock.check())
            self._note_data()
            self._note_status(status)
            if self._sequence.must_fetch:
                return

    async def _begin(self) -> None:
        """Read which records the bracelet holds and how its clock stands."""
        self._restarted = False
        status = await self._parsed(self._clock.check())
        known = await self._store.progress(self._assignment.device_id)
        if known and known.boot != status.boot:
            self._notice("it restarted")
        self._sequence = Sequence.begin(status, known)
        self._released, self._missing = None, 0

    async def _parsed(self, check: Awaitable[_T]) -> _T:
        """Await a check of the bracelet's status; end the link if the status is malformed."""
        try:
            return await check
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
        """Request the missing records; the time limit restarts with each record."""
        outcome = await self._record_access.request(Request.report_from(self._sequence.fetch_from))
        if outcome not in (ResponseCode.SUCCESS, ResponseCode.NO_RECORDS):
            raise LinkLost(f"it did not report its records: {outcome.name}")
        if not self._restarted:
            self._sequence.report_complete()

    async def _release(self) -> None:
        """Let the bracelet reuse the flash of durable records.

        The progress is stored first: otherwise, after a crash, released records would look like lost ones.
        """
        progress = self._sequence.progress
        if progress is None or progress == self._released:
            return
        try:
            await self._store.save_progress(self._assignment.device_id, progress)
        except OutboxUnavailable as error:  # the bracelet keeps its records; live ones still arrive
            log.debug("%s: nothing is released: %s", self._assignment.device_id, error)
            return
        if self._restarted:
            return  # the numbers now belong to other records
        outcome = await self._record_access.request(Request.release_up_to(progress.seq))
        if outcome in (ResponseCode.SUCCESS, ResponseCode.NO_RECORDS):
            self._released = progress
        else:
            log.warning("%s did not release records: %s", self._assignment.device_id, outcome.name)

    def _on_record_access(self, data: bytes) -> None:
        try:
            self._record_access.receive(data)
        except MalformedRecord as error:
            self._add_dead_letter(data, error)
            return
        self._note_data()

    def _on_status(self, data: bytes) -> None:
        try:
            status = self._clock.update(data, datetime.now(UTC))
        except MalformedRecord as error:
            self._add_dead_letter(data, error)
            return
        self._note_data()
        self._note_status(status)
        self._news.set()

    def _on_live(self, data: bytes) -> None:
        self._receive(data, live=True)

    def _on_stored(self, data: bytes) -> None:
        self._record_access.note_activity()
        self._receive(data, live=False)

    def _receive(self, data: bytes, *, live: bool) -> None:
        device_id, patient_id = self._assignment.device_id, self._assignment.patient_id
        clock, now = self._clock.clock, datetime.now(UTC)
        try:
            record = BraceletRecord.from_bytes(data)
            identity = derived_message_id(device_id, record.boot, record.seq, record.device_time_ms)
            reading = reading_of(record, identity, device_id, patient_id, clock, now, live=live)
        except MalformedRecord as error:
            self._add_dead_letter(data, error)
            return
        self._note_data()
        if live:
            self._note_restart(record.boot)
            if self._clock.contradicted_by(record):
                self._news.set()
        sequence = self._sequence
        if not self._restarted:
            sequence.receive(record.seq, identity)
        again = not self._identities.add(identity)
        if live:
            reason = None if reading else missing_value.of_record(record.flags)
            self._state.absence(device_id, "ble", reason)
        if reading is None:
            self._count_no_value(record, again)
            self._note_durable(sequence, record.seq, identity)
            return
        self._inbox.put(InboxItem(reading, lambda: self._note_durable(sequence, record.seq, identity), again))

    def _note_status(self, status: BraceletStatus) -> None:
        self._note_restart(status.boot)
        self._sequence.exists(status)

    def _note_restart(self, boot: int) -> None:
        """Begin again with a bracelet that restarted during the connection: its numbering starts anew."""
        if boot != self._sequence.boot:
            self._restarted = True
            self._news.set()

    def _note_durable(self, sequence: Sequence, seq: int, identity: UUID) -> None:
        """Commit a record to its own sequence: after a restart, its number may belong to another record."""
        sequence.commit(seq, identity)
        self._news.set()

    def _count_no_value(self, record: BraceletRecord, again: bool) -> None:
        if not again:
            device_id, reason = self._assignment.device_id, missing_value.of_record(record.flags)
            self._state.counters.no_value[reason.value] += 1
            log.debug("%s: record %d holds no value: %s", device_id, record.seq, reason.value)

    def _add_dead_letter(self, data: bytes, error: MalformedRecord) -> None:
        self.consecutive_malformed += 1
        self._inbox.put(InboxItem(malformed(self._assignment.device_id, data, error, self._state)))

    def _note_data(self) -> None:
        self.consecutive_malformed = 0
        self._on_data()

    def _notice(self, text: str) -> None:
        self._state.notice(self._assignment.device_id, "ble", text)


class _RecentIdentities:
    """The identities of the records received last."""

    def __init__(self) -> None:
        self._known: set[UUID] = set()
        self._in_order: deque[UUID] = deque()

    def add(self, identity: UUID) -> bool:
        """Add an identity. Return False if it is already there."""
        if identity in self._known:
            return False
        self._known.add(identity)
        self._in_order.append(identity)
        if len(self._in_order) > _MOST_IDENTITIES:
            self._known.discard(self._in_order.popleft())
        return True
