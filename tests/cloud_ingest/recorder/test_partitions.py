"""Monthly partitions in a real PostgreSQL."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest
from psycopg2.extensions import connection

from cloud_ingest.recorder.deduplication import rows_to_insert
from cloud_ingest.recorder.partitions import Partitions, first_of_month, own_month
from cloud_ingest.recorder.row_mapping import TABLES, Row, Table
from cloud_ingest.settings import Settings
from deploy.local.postgres import Dsn
from tests.cloud_ingest.recorder.test_recorder import value
from tests.cloud_ingest.samples import a_row
from vitals.topics import MEASUREMENTS

TABLE = TABLES[MEASUREMENTS]
NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)


@dataclass
class CalendarClock:
    """A clock that a test sets."""

    now: datetime = NOW

    def __call__(self) -> datetime:
        return self.now


def fetch(database: connection, query: str, *values: object) -> list[tuple[Any, ...]]:
    with database, database.cursor() as cursor:
        cursor.execute(query, values)
        return cursor.fetchall()


def measured(timestamp: str, message_id: UUID | None = None, **changes: Any) -> Row:
    return a_row(
        TABLE,
        value("d", timestamp=timestamp, **({"message_id": str(message_id)} if message_id else {}), **changes),
    )


def insert(database: connection, *rows: Row, table: Table = TABLE) -> None:
    with database, database.cursor() as cursor:
        for row in rows_to_insert(cursor, table, rows):
            cursor.execute(table.insert.replace("%s", "(" + ", ".join(["%s"] * len(row)) + ")"), row)


def partitions_of_readings(database: connection) -> list[tuple[str, str]]:
    """Return partition and year of each reading."""
    return fetch(
        database,
        "SELECT tableoid::regclass::text, extract(year FROM timestamp)::text FROM measurements"
        " ORDER BY timestamp",
    )


@pytest.mark.parametrize(
    ("moment", "later", "expected"),
    [
        ("2026-11-24T12:00:00+00:00", 0, date(2026, 11, 1)),
        ("2026-12-01T00:30:00+01:00", 0, date(2026, 11, 1)),
        ("2026-11-24T12:00:00+00:00", 2, date(2027, 1, 1)),
        ("2026-01-31T12:00:00+00:00", -1, date(2025, 12, 1)),
        ("2026-11-24T12:00:00+00:00", -36, date(2023, 11, 1)),
    ],
)
def test_first_of_month(moment: str, later: int, expected: date) -> None:
    assert first_of_month(datetime.fromisoformat(moment), later) == expected


@pytest.mark.parametrize(
    ("timestamp", "expected"),
    [
        ("2023-11-01T00:00:00+00:00", date(2023, 11, 1)),
        ("2023-10-31T23:59:59+00:00", None),
        ("2027-01-31T23:59:59+00:00", date(2027, 1, 1)),
        ("2027-02-01T00:00:00+00:00", None),
        ("0001-01-01T00:00:00+00:00", None),
        ("9999-12-31T23:59:59+00:00", None),
    ],
)
def test_own_month_only_near_today(timestamp: str, expected: date | None) -> None:
    assert own_month(datetime.fromisoformat(timestamp), NOW) == expected


def test_rows_of_any_time_have_a_partition(database: connection) -> None:
    stamps = ["0001-01-01T00:00:00Z", "1970-01-01T00:00:00Z", "2025-02-03T04:05:06Z", "9999-12-31T23:00:00Z"]
    rows = [measured(stamp) for stamp in stamps]
    Partitions(None, CalendarClock()).ensure(database, [(TABLE, row) for row in rows])
    insert(database, *rows)
    assert partitions_of_readings(database) == [
        ("measurements_default", "1"),
        ("measurements_default", "1970"),
        ("measurements_2025_02", "2025"),
        ("measurements_default", "9999"),
    ]


def test_rows_of_the_default_partition_move_when_their_month_comes(database: connection) -> None:
    ahead = measured("2027-05-01T00:00:00Z")
    clock = CalendarClock()
    partitions = Partitions(None, clock)
    partitions.ensure(database, [(TABLE, ahead)])
    insert(database, ahead)
    assert partitions_of_readings(database) == [("measurements_default", "2027")]
    clock.now = datetime(2027, 3, 1, tzinfo=UTC)
    partitions.upkeep(database)
    assert partitions_of_readings(database) == [("measurements_2027_05", "2027")]


def test_upkeep_creates_the_coming_months_of_every_table(database: connection) -> None:
    Partitions(None, CalendarClock()).upkeep(database)
    for table in ("measurements", "alerts", "device_status", "ingestion_errors"):
        for month in ("2026_11", "2026_12", "2027_01"):
            assert fetch(database, "SELECT to_regclass(%s) IS NOT NULL", f"{table}_{month}") == [(True,)]


def test_many_recorders_create_one_partition_at_once(dsn: Dsn) -> None:
    row = measured("2025-06-15T00:00:00Z")
    failures: list[Exception] = []
    start = threading.Barrier(8)

    def make() -> None:
        database = dsn.connect()
        start.wait()
        try:
            Partitions(None, CalendarClock()).ensure(database, [(TABLE, row)])
        except Exception as error:  # noqa: BLE001 - shown by the assertion
            failures.append(error)
        finally:
            database.close()

    threads = [threading.Thread(target=make) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_one_id_with_several_timestamps_is_one_reading(database: connection) -> None:
    message_id = uuid4()
    first = measured("2026-10-31T23:59:59Z", message_id, seq=1)
    others = [
        measured("2026-11-01T00:00:00Z", message_id, seq=2),
        measured("1970-01-01T00:00:00Z", message_id, seq=3),
        measured("2026-10-31T23:59:59Z", message_id, seq=4),
    ]
    partitions = Partitions(None, CalendarClock())
    partitions.ensure(database, [(TABLE, row) for row in (first, *others)])
    insert(database, first, others[0])  # in one batch
    insert(database, *others)  # in another
    assert fetch(database, "SELECT seq, timestamp::text FROM measurements") == [(1, "2026-10-31 23:59:59+00")]


def test_id_that_two_recorders_stored_twice_does_not_stop_a_third(dsn: Dsn, database: connection) -> None:
    message_id, other = uuid4(), dsn.connect()
    with database, database.cursor() as ours, other, other.cursor() as theirs:  # neither sees the other's
        for cursor, second in ((ours, 0), (theirs, 1)):
            (row,) = rows_to_insert(cursor, TABLE, [measured(f"2026-11-01T00:00:0{second}Z", message_id)])
            cursor.execute(TABLE.insert.replace("%s", "(" + ", ".join(["%s"] * len(row)) + ")"), row)
    other.close()
    fresh = measured("2026-11-01T00:00:02Z")
    with database, database.cursor() as cursor:
        assert rows_to_insert(cursor, TABLE, [measured("2026-11-01T00:00:00Z", message_id), fresh]) == [fresh]


def test_retention_drops_whole_months_and_rows_of_the_default_partition(database: connection) -> None:
    stamps = ["1970-01-01T00:00:00Z", "2026-08-31T23:59:59Z", "2026-09-01T00:00:00Z", "2026-11-24T00:00:00Z"]
    rows = [measured(stamp) for stamp in stamps]
    clock = CalendarClock()
    partitions = Partitions(2, clock)
    partitions.ensure(database, [(TABLE, row) for row in rows])
    insert(database, *rows)
    partitions.upkeep(database)
    assert fetch(database, "SELECT timestamp::text FROM measurements ORDER BY 1") == [
        ("2026-09-01 00:00:00+00",),
        ("2026-11-24 00:00:00+00",),
    ]
    assert fetch(database, "SELECT to_regclass('measurements_2026_08')::text") == [(None,)]
    late = measured(
        "2026-08-31T23:59:59Z"
    )  # a backlog brings such a row after all: it is kept until tomorrow
    partitions.ensure(database, [(TABLE, late)])
    insert(database, late)
    partitions.upkeep(database)
    assert len(partitions_of_readings(database)) == 3
    clock.now = datetime(2026, 11, 25, 13, tzinfo=UTC)
    partitions.upkeep(database)
    assert len(partitions_of_readings(database)) == 2


def test_long_query_delays_upkeep_and_no_reading(dsn: Dsn, database: connection) -> None:
    row = measured("2026-01-05T00:00:00Z")
    clock = CalendarClock()
    partitions = Partitions(2, clock)
    partitions.ensure(database, [(TABLE, row)])
    insert(database, row)
    looking = dsn.connect()
    with looking.cursor() as cursor:
        cursor.execute("SELECT * FROM measurements")
        partitions.upkeep(database)
        unforeseen = measured("2025-02-05T00:00:00Z")
        partitions.ensure(database, [(TABLE, unforeseen)])
        insert(database, unforeseen)
    assert partitions_of_readings(database) == [
        ("measurements_default", "2025"),
        ("measurements_2026_01", "2026"),
    ]
    looking.close()
    clock.now = datetime(2026, 11, 24, 12, 11, tzinfo=UTC)
    partitions.upkeep(database)
    assert partitions_of_readings(database) == []


def test_without_a_retention_setting_nothing_is_dropped(database: connection) -> None:
    settings = Settings.from_environment({})
    row = measured("1970-01-01T00:00:00Z")
    insert(database, row)
    Partitions(settings.pg_retention_months, CalendarClock()).upkeep(database)
    assert len(partitions_of_readings(database)) == 1


def test_recent_arrivals_are_indexed_by_block_range(database: connection) -> None:
    kinds = fetch(
        database,
        "SELECT c.relname, am.amname FROM pg_class c JOIN pg_am am ON am.oid = c.relam"
        " WHERE c.relname LIKE %s ORDER BY 1",
        "%_recorded",
    )
    assert kinds == [
        ("alerts_recorded", "brin"),
        ("device_status_recorded", "brin"),
        ("ingestion_errors_recorded", "brin"),
        ("measurements_recorded", "brin"),
    ]
