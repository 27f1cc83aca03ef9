"""When a standby process considers the lease abandoned."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import cast

from cloud_ingest.alarms.repository import AlarmRepository
from cloud_ingest.alarms.standby import StandbyLease
from cloud_ingest.errors import DatabaseUnavailable
from cloud_ingest.settings import Settings
from deploy.local.postgres import Dsn

NIGHT = datetime(2025, 8, 24, 2, 0, tzinfo=UTC)


class LastWrite:
    """A repository whose owner wrote at a given time; None while the database is not available."""

    def __init__(self) -> None:
        self.at: datetime | None = NIGHT

    def last_write(self) -> datetime:
        if self.at is None:
            raise DatabaseUnavailable("frozen")
        return self.at


def check(lease: StandbyLease, times: int) -> list[bool]:
    return [lease.is_abandoned() for _ in range(times)]


def test_lease_without_a_write_for_15_checks_is_abandoned() -> None:
    repository = LastWrite()
    lease = StandbyLease(cast(AlarmRepository, repository))
    assert not any(check(lease, 15))
    repository.at = NIGHT + timedelta(seconds=5)
    assert not any(check(lease, 15))
    assert check(lease, 1) == [True]


def test_owner_that_cannot_write_because_the_database_is_down_keeps_the_lease() -> None:
    repository = LastWrite()
    lease = StandbyLease(cast(AlarmRepository, repository))
    check(lease, 15)
    repository.at = None
    assert not any(check(lease, 100))
    repository.at = NIGHT
    assert not any(check(lease, 15)), "the owner has time to write again"
    assert check(lease, 1) == [True]


def test_checking_does_not_take_the_lease_and_sees_the_owners_writes(dsn: Dsn) -> None:
    owner, other = (AlarmRepository(Settings.from_environment(dsn.env())) for _ in range(2))
    assert other.last_write() is None
    owner.load()
    taken = other.last_write()
    assert taken == other.last_write()
    owner.load()
    assert taken != other.last_write()
    owner.close()
    other.close()
