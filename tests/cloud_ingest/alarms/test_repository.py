"""The stored alarms in a real PostgreSQL."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, tzinfo

import pytest
from psycopg2.extensions import connection

from cloud_ingest.alarms import repository
from cloud_ingest.alarms.repository import AlarmRepository
from cloud_ingest.settings import Settings
from deploy.local.postgres import Dsn


class HourAhead(datetime):
    """The clock of a process, an hour ahead of the database's."""

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> HourAhead:
        return cls.fromtimestamp(datetime.now(UTC).timestamp() + 3600, tz)


def test_time_of_an_acknowledgement_is_by_the_clock_of_the_process_that_applies_it(
    dsn: Dsn, database: connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    with database, database.cursor() as cursor:
        cursor.execute(
            "INSERT INTO alarm_acknowledgements (condition, by, at)"
            " VALUES ('KAFKA_DOWN:', 'Fatou', now() - interval '90 seconds')"
        )
    monkeypatch.setattr(repository, "datetime", HourAhead)
    stored = AlarmRepository(Settings.from_environment(dsn.env()))
    (acknowledgement,) = stored.load().acknowledgements
    stored.close()
    age = datetime.now(UTC) + timedelta(hours=1) - acknowledgement.at
    assert timedelta(seconds=90) <= age < timedelta(seconds=95)
