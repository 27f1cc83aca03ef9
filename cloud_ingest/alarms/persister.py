"""Writes what the alarms process decides to PostgreSQL, one transaction at a time, and never delays an alarm.

What could not be written is part of the next transaction. Kafka offsets are committed only after the
transaction that includes them.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TypeVar
from uuid import UUID

from cloud_ingest.alarms.acknowledgement import Acknowledgement
from cloud_ingest.alarms.background import result_of
from cloud_ingest.alarms.repository import (
    AlarmRepository,
    AlarmTransaction,
    DeliveredNotification,
    Notification,
    PersistedAlarms,
)
from cloud_ingest.errors import DatabaseUnavailable
from cloud_ingest.kafka.record import TopicPartition
from cloud_ingest.postgres.connection import first_line
from cloud_ingest.privacy.identities import Identities, IdentitiesChanged

log = logging.getLogger(__name__)

T = TypeVar("T")
WRITTEN_WITHIN_S = 0.5
"""How long a notification waits for the database before it is sent."""
_NOT_URGENT_S = 0.01
_LOADED_WITHIN_S = _FLUSHED_WITHIN_S = 5.0
_WRITE_EVERY = timedelta(seconds=1)
_HANGS_AFTER = timedelta(seconds=5)
_NAMES_EVERY = timedelta(seconds=60)


@dataclass(frozen=True, slots=True)
class PersisterUpdate:
    """What the database returned, for the alarms process to apply.

    Attributes:
        restored: the stored alarms, once, after they were loaded.
        names: display names by pseudonym; None where they were not read this time.
        identities: replaced and erased pseudonyms, where they changed; the transaction was not written.
        acknowledgements: those to apply.
        positions: offsets that were written.
    """

    restored: PersistedAlarms | None = None
    names: Mapping[str, str] | None = None
    identities: Identities | None = None
    acknowledgements: Sequence[Acknowledgement] = ()
    positions: Mapping[TopicPartition, int] = field(default_factory=dict)

    @property
    def outdates_pending(self) -> bool:
        """Whether what is pending must not be written before this update is applied."""
        return self.restored is not None or self.identities is not None


class AlarmPersister:
    """The only owner of what is not written yet."""

    def __init__(self, repository: AlarmRepository) -> None:
        self._repository = repository
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="alarm-repository")
        self._pending = AlarmTransaction()
        self._step: asyncio.Task[PersisterUpdate] | None = None
        self._loaded = False
        self._returned: set[UUID] = set()
        """Acknowledgements returned to the process and not yet written as applied."""
        self._unavailable_since: datetime | None = None
        self._step_started = datetime.now(UTC)
        self._names_read = self._step_started - _NAMES_EVERY

    async def start(self) -> list[PersisterUpdate]:
        """Load the stored alarms; wait up to 5 s, because a process without them may notify twice."""
        self._start_step(datetime.now(UTC))
        updates = await self._finished(_LOADED_WITHIN_S)
        if not self._loaded:
            log.warning("starting without the stored alarms: PostgreSQL is not available")
        return updates

    def unavailable_since(self, now: datetime) -> datetime | None:
        """Return since when PostgreSQL has refused or not answered; None while it works."""
        hangs = self._step is not None and now - self._step_started >= _HANGS_AFTER
        return self._unavailable_since or (self._step_started if hangs else None)

    def add_delivered(self, notification: Notification) -> None:
        """Have written that a contact's service has accepted a notification."""
        delivered = DeliveredNotification(notification, datetime.now(UTC))
        self._pending = dataclasses.replace(self._pending, delivered=[*self._pending.delivered, delivered])

    async def persist(self, transaction: AlarmTransaction, now: datetime) -> list[PersisterUpdate]:
        """Add to what is pending and write it when due; return updates to apply before the next call.

        Waits up to 0.5 s where there are notifications, else 10 ms.

        Raises:
            LeaseLost: another process has taken the lease.
            RecordingFailed: an unexpected error.
        """
        self._pending = self._pending.followed_by(transaction)
        urgent = bool(transaction.notifications)
        timeout = WRITTEN_WITHIN_S if urgent else _NOT_URGENT_S
        updates = await self._finished(timeout)
        outdated = any(update.outdates_pending for update in updates)
        if self._step is None and not outdated and self._is_due(urgent, now):
            self._start_step(now)
            updates += await self._finished(timeout)
        return updates

    async def flush(self, transaction: AlarmTransaction) -> list[PersisterUpdate]:
        """Write everything that is pending, as far as that is possible within 5 s."""
        self._pending = self._pending.followed_by(transaction)
        updates: list[PersisterUpdate] = []
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_FLUSHED_WITHIN_S):
                updates += await self._finished(None)
                if not any(update.outdates_pending for update in updates):
                    self._start_step(datetime.now(UTC))
                    updates += await self._finished(None)
        return updates

    def close(self) -> None:
        """Close the connection once it is free."""
        self._worker.submit(self._repository.close)
        self._worker.shutdown(wait=False)

    def _is_due(self, urgent: bool, now: datetime) -> bool:
        is_pressing = urgent or bool(self._pending.applied) or bool(self._pending.delivered)
        if is_pressing and self._loaded and not self._unavailable_since:
            return True
        return not timedelta() <= now - self._step_started < _WRITE_EVERY

    def _start_step(self, now: datetime) -> None:
        self._step_started = now
        self._step = asyncio.create_task(self._run_step(), name="persist alarms")

    async def _finished(self, timeout_s: float | None) -> list[PersisterUpdate]:
        """Wait for the step in progress; return its update, or nothing where it takes longer."""
        if self._step is None:
            return []
        await asyncio.wait({self._step}, timeout=timeout_s)
        if not self._step.done():
            return []
        step, self._step = self._step, None
        return [result_of(step)]

    async def _run_step(self) -> PersisterUpdate:
        try:
            names = await self._read_names()
            update = await (self._write() if self._loaded else self._load())
        except DatabaseUnavailable as error:
            level = logging.DEBUG if self._unavailable_since else logging.WARNING
            log.log(level, "alarms continue from memory, PostgreSQL is not available: %s", _reason(error))
            self._unavailable_since = self._unavailable_since or datetime.now(UTC)
            return PersisterUpdate()
        if self._unavailable_since:
            log.warning("PostgreSQL is available again: alarms are written")
        self._unavailable_since = None
        if names is not None:
            self._names_read = self._step_started
        return dataclasses.replace(update, names=names)

    async def _load(self) -> PersisterUpdate:
        restored = await self._call(self._repository.load)
        self._loaded = True
        return PersisterUpdate(
            restored=restored, acknowledgements=self._not_returned(restored.acknowledgements)
        )

    async def _write(self) -> PersisterUpdate:
        transaction, self._pending = self._pending, AlarmTransaction()
        try:
            unapplied = await self._call(partial(self._repository.write, transaction))
        except IdentitiesChanged as changed:
            self._put_back(transaction)
            return PersisterUpdate(identities=changed.identities)
        except DatabaseUnavailable:
            self._put_back(transaction)
            raise
        self._returned -= transaction.applied.keys()
        return PersisterUpdate(
            acknowledgements=self._not_returned(unapplied), positions=transaction.positions
        )

    def _put_back(self, transaction: AlarmTransaction) -> None:
        self._pending = transaction.followed_by(self._pending)

    def _not_returned(self, unapplied: Iterable[Acknowledgement]) -> list[Acknowledgement]:
        new = [each for each in unapplied if each.acknowledgement_id not in self._returned]
        self._returned.update(each.acknowledgement_id for each in new)
        return new

    async def _read_names(self) -> Mapping[str, str] | None:
        if timedelta() <= self._step_started - self._names_read < _NAMES_EVERY:
            return None
        return await self._call(self._repository.names)

    async def _call(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._worker, work)


def _reason(error: DatabaseUnavailable) -> str:
    return first_line(error.__cause__ or error)
