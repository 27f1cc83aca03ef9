"""What the persister writes, retries and returns, with a repository in memory."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import cast
from uuid import UUID, uuid4

import pytest

from cloud_ingest.alarms.acknowledgement import Acknowledgement
from cloud_ingest.alarms.background import RecordingFailed
from cloud_ingest.alarms.persister import AlarmPersister, PersisterUpdate
from cloud_ingest.alarms.repository import (
    AlarmRepository,
    AlarmTransaction,
    Notification,
    PersistedAlarms,
)
from cloud_ingest.errors import DatabaseUnavailable, LeaseLost
from cloud_ingest.privacy.identities import Identities, IdentitiesChanged
from vitals.conditions import Priority
from vitals.message import Message

NOW = datetime(2025, 8, 24, 2, 0, tzinfo=UTC)
ACKNOWLEDGED = Acknowledgement(acknowledgement_id=UUID(int=1), patient_id="p1_a", by="Fatou", at=NOW)
AWA = ("child", "p1_a")
_LATER = (timedelta(minutes=5 * number) for number in itertools.count(1))


class RepositoryInMemory:
    """Records transactions, or raises the error it is given.

    Attributes:
        unapplied: acknowledgements in the database.
        free: cleared while the database hangs.
    """

    def __init__(self) -> None:
        self.written: list[AlarmTransaction] = []
        self.unapplied: list[Acknowledgement] = []
        self.error: Exception | None = None
        self.free = threading.Event()
        self.free.set()

    def load(self) -> PersistedAlarms:
        self._fail()
        return PersistedAlarms(states={AWA: "{}"}, acknowledgements=self.unapplied)

    def names(self) -> dict[str, str]:
        self.free.wait(20)
        return {"p1_a": "Awa"}

    def write(self, transaction: AlarmTransaction) -> list[Acknowledgement]:
        self._fail()
        self.written.append(transaction)
        self.unapplied = [a for a in self.unapplied if a.acknowledgement_id not in transaction.applied]
        return self.unapplied

    def close(self) -> None:
        pass

    def _fail(self) -> None:
        self.free.wait(20)
        if self.error is not None:
            raise self.error


@pytest.fixture
def repository() -> RepositoryInMemory:
    return RepositoryInMemory()


@pytest.fixture
async def persister(repository: RepositoryInMemory) -> AsyncIterator[AlarmPersister]:
    persister = AlarmPersister(cast(AlarmRepository, repository))
    yield persister
    repository.free.set()
    persister.close()


def notification() -> Notification:
    body = {"en": "SpO2 85 %", "fr": "SpO2 85 %"}
    message = Message("SPO2", "raised", "p1_a", Priority.HIGH, 0, NOW, "Awa", body)  # type: ignore[arg-type]
    return Notification("nurse", message)


async def persist(persister: AlarmPersister, transaction: AlarmTransaction) -> list[PersisterUpdate]:
    """Persist at a time when a write is due, and wait for its end."""
    now = datetime.now(UTC) + next(_LATER)
    updates = await persister.persist(transaction, now)
    for _ in range(100):
        if updates:
            break
        await asyncio.sleep(0.01)
        updates = await persister.persist(AlarmTransaction(), now)
    return updates


async def test_stored_alarms_names_and_acknowledgements_are_returned_at_the_start(
    repository: RepositoryInMemory, persister: AlarmPersister
) -> None:
    repository.unapplied = [ACKNOWLEDGED]
    (update,) = await persister.start()
    assert update.restored is not None
    assert update.restored.states == {AWA: "{}"}
    assert update.names == {"p1_a": "Awa"}
    assert update.acknowledgements == [ACKNOWLEDGED]
    assert repository.written == []


async def test_acknowledgement_is_returned_once_and_written_as_applied(
    repository: RepositoryInMemory, persister: AlarmPersister
) -> None:
    await persister.start()
    repository.unapplied = [ACKNOWLEDGED]
    assert [update.acknowledgements for update in await persist(persister, AlarmTransaction())] == [
        [ACKNOWLEDGED]
    ]
    assert [update.acknowledgements for update in await persist(persister, AlarmTransaction())] == [[]]
    applied = AlarmTransaction(applied={ACKNOWLEDGED.acknowledgement_id: ["SPO2"]})
    assert [update.acknowledgements for update in await persist(persister, applied)] == [[]]
    assert repository.unapplied == []


async def test_transactions_of_an_outage_are_written_together_after_it(
    repository: RepositoryInMemory, persister: AlarmPersister
) -> None:
    await persister.start()
    repository.error = DatabaseUnavailable("frozen")
    first, second = notification(), notification()
    partition = ("kidjamo-iot-measurements", 0)
    lost = AlarmTransaction(states={AWA: "1"}, positions={partition: 1}, notifications=[first])
    (update,) = await persist(persister, lost)
    assert update.positions == {}
    assert persister.unavailable_since(datetime.now(UTC)) is not None
    persister.add_delivered(first)
    repository.error = None
    later = AlarmTransaction(removed={AWA}, positions={partition: 2}, notifications=[second])
    (update,) = await persist(persister, later)
    assert update.positions == {partition: 2}
    (written,) = repository.written
    assert (written.states, written.removed) == ({}, {AWA})
    assert written.notifications == [first, second]
    assert [each.notification for each in written.delivered] == [first]
    assert persister.unavailable_since(datetime.now(UTC)) is None


async def test_changed_identities_are_returned_and_nothing_is_lost(
    repository: RepositoryInMemory, persister: AlarmPersister
) -> None:
    await persister.start()
    changed = Identities({"p1_a": "p2_a"})
    repository.error = IdentitiesChanged(changed)
    (update,) = await persist(persister, AlarmTransaction(states={AWA: "1"}))
    assert (update.identities, update.outdates_pending) == (changed, True)
    repository.error = None
    renamed = AlarmTransaction(states={("child", "p2_a"): "1"}, removed={AWA}, identities=changed)
    await persist(persister, renamed)
    (written,) = repository.written
    assert (written.states, written.removed) == ({("child", "p2_a"): "1"}, {AWA})
    assert written.identities == changed


async def test_database_that_hangs_delays_a_notification_by_half_a_second(
    repository: RepositoryInMemory, persister: AlarmPersister
) -> None:
    await persister.start()
    repository.free.clear()
    started = asyncio.get_running_loop().time()
    now = datetime.now(UTC)
    assert await persister.persist(AlarmTransaction(notifications=[notification()]), now) == []
    assert 0.4 < asyncio.get_running_loop().time() - started < 1.5
    assert persister.unavailable_since(now) is None
    assert persister.unavailable_since(now + timedelta(seconds=5)) == now


async def test_database_that_hangs_at_the_start_is_restored_from_later(
    repository: RepositoryInMemory, persister: AlarmPersister, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cloud_ingest.alarms.persister._LOADED_WITHIN_S", 0.1)
    repository.free.clear()
    assert await persister.start() == []
    received = AlarmTransaction(states={AWA: "received before"})
    assert await persister.persist(received, datetime.now(UTC) + timedelta(minutes=5)) == []
    repository.free.set()
    (update,) = await persist(persister, AlarmTransaction())
    assert update.restored is not None
    assert repository.written == [], "the restored states have to be merged first"


async def test_flush_writes_what_is_pending(
    repository: RepositoryInMemory, persister: AlarmPersister
) -> None:
    await persister.start()
    sent = notification()
    persister.add_delivered(sent)
    (update,) = await persister.flush(AlarmTransaction(states={AWA: "1"}))
    assert not update.outdates_pending
    (written,) = repository.written
    assert written.states == {AWA: "1"}
    assert [each.notification for each in written.delivered] == [sent]


async def test_unexpected_error_is_raised_and_logged(
    repository: RepositoryInMemory, persister: AlarmPersister, caplog: pytest.LogCaptureFixture
) -> None:
    await persister.start()
    repository.error = RuntimeError("a bug")
    with pytest.raises(RecordingFailed, match="persist alarms failed: RuntimeError: a bug"):
        await persist(persister, AlarmTransaction())
    (record,) = [each for each in caplog.records if each.levelname == "CRITICAL"]
    assert record.getMessage() == "persist alarms failed, the alarms process ends"
    assert record.exc_info is not None


async def test_lost_lease_is_raised(repository: RepositoryInMemory, persister: AlarmPersister) -> None:
    await persister.start()
    repository.error = LeaseLost("another alarms process has taken the lease")
    with pytest.raises(LeaseLost):
        await persist(persister, AlarmTransaction())


def test_later_transaction_overrides_states_and_removals() -> None:
    binta = ("child", "p1_b")
    identity = uuid4()
    first = AlarmTransaction(states={AWA: "1", binta: "1"}, removed={("child", "p1_c")}, patients={"p1_a"})
    later = AlarmTransaction(
        states={("child", "p1_c"): "2"}, removed={AWA}, applied={identity: []}, patients={"p1_b"}
    )
    both = first.followed_by(later)
    assert both.states == {binta: "1", ("child", "p1_c"): "2"}
    assert both.removed == {AWA}
    assert (both.applied, both.patients) == ({identity: []}, {"p1_b"})
