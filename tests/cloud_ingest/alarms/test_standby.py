"""When a process that stands by takes the owner for gone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import cast

from cloud_ingest.alarms.repository import AlarmBook
from cloud_ingest.alarms.standby import Owner
from cloud_ingest.errors import DatabaseUnavailable
from cloud_ingest.settings import Settings
from deploy.local.postgres import Dsn

NIGHT = datetime(2025, 8, 24, 2, 0, tzinfo=UTC)


class Book:
    """A book whose owner wrote then; None where the database is away."""

    def __init__(self) -> None:
        self.at: datetime | None = NIGHT

    def sign_of_life(self) -> datetime:
        if self.at is None:
            raise DatabaseUnavailable("frozen")
        return self.at


def looks(owner: Owner, times: int) -> list[bool]:
    return [owner.is_gone() for _ in range(times)]


def test_owner_that_wrote_nothing_for_15_looks_is_gone() -> None:
    book = Book()
    owner = Owner(cast(AlarmBook, book))
    assert not any(looks(owner, 15))
    book.at = NIGHT + timedelta(seconds=5)
    assert not any(looks(owner, 15))
    assert looks(owner, 1) == [True]


def test_owner_that_cannot_write_because_the_database_is_away_is_not_gone() -> None:
    book = Book()
    owner = Owner(cast(AlarmBook, book))
    looks(owner, 15)
    book.at = None
    assert not any(looks(owner, 100))
    book.at = NIGHT
    assert not any(looks(owner, 15)), "it has time to write again"
    assert looks(owner, 1) == [True]


def test_looking_takes_nothing_and_sees_what_the_owner_does(dsn: Dsn) -> None:
    owner, other = (AlarmBook(Settings.from_environment(dsn.env())) for _ in range(2))
    assert other.sign_of_life() is None
    owner.recall()
    taken = other.sign_of_life()
    assert taken == other.sign_of_life()
    owner.recall()
    assert taken != other.sign_of_life()
    owner.close()
    other.close()
