"""Tables: replayed micro-batches, duplicates, late readings, fast clocks."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path

import pytest
from deltalake import DeltaTable
from pyspark.sql import SparkSession

from lakehouse import raw, silver
from lakehouse.recompute import WindowRecomputer, ranges
from lakehouse.sinks import CRITICAL, RAW, TABLES, WINDOWS, MicroBatch, Tables
from tests.lakehouse.conftest import AppendReadings, ParseMessages, utc
from tests.lakehouse.samples import MORNING, alert, reading
from vitals import topics

OTHER = "p1_00000000000000000000000000000002"


def test_create_makes_tables_readable_without_spark(tables: Tables) -> None:
    for table, schema in TABLES.items():
        opened = DeltaTable(tables.location(table))
        assert [field.name for field in opened.schema().fields] == schema.fieldNames()
        assert opened.count() == 0


def test_create_adds_columns_that_older_tables_lack(
    spark: SparkSession, tmp_path: Path, parse_messages: ParseMessages
) -> None:
    rows = raw.measurements(parse_messages(topics.MEASUREMENTS, reading(1)))
    rows.drop("freq_resp").write.format("delta").save(str(tmp_path / RAW))
    tables = Tables(spark, tmp_path)
    tables.create("clustered")
    tables.append(RAW, rows, MicroBatch("a", 0))
    assert set(tables.read(RAW).columns) == set(TABLES[RAW].fieldNames())
    assert sorted(row["freq_resp"] or 0 for row in tables.read(RAW).collect()) == [0, 18.0]
    version = DeltaTable(tables.location(RAW)).version()
    tables.create("clustered")
    assert DeltaTable(tables.location(RAW)).version() == version


@pytest.mark.parametrize(("layout", "partitions"), [("clustered", []), ("partitioned", ["patient_id"])])
def test_create_uses_the_configured_layout(
    spark: SparkSession, tmp_path: Path, parse_messages: ParseMessages, layout: str, partitions: list[str]
) -> None:
    tables = Tables(spark, tmp_path)
    tables.create("partitioned" if layout == "partitioned" else "clustered")
    tables.append(RAW, raw.measurements(parse_messages(topics.MEASUREMENTS, reading(1))), MicroBatch("a", 0))
    opened = DeltaTable(tables.location(RAW))
    assert opened.metadata().partition_columns == partitions
    assert opened.count() == 1


def test_append_replayed_batch_adds_nothing(tables: Tables, parse_messages: ParseMessages) -> None:
    rows = raw.measurements(parse_messages(topics.MEASUREMENTS, reading(1), reading(2)))
    tables.append(RAW, rows, MicroBatch("app", 4))
    tables.append(RAW, rows, MicroBatch("app", 4))
    assert tables.read(RAW).count() == 2
    tables.append(RAW, rows, MicroBatch("app", 5))
    tables.append(RAW, rows, MicroBatch("app-after-a-reset", 0))
    assert tables.read(RAW).count() == 6


def test_insert_new_stores_each_alert_once(tables: Tables, parse_messages: ParseMessages) -> None:
    batches = count()

    def critical(*numbers: int) -> int:
        sent = [*(alert(n) for n in numbers), alert(90, severity="TECHNICAL", type="SENSOR_OFF")]
        rows = silver.critical(raw.alerts(parse_messages(topics.ALERTS, *sent)))
        return tables.insert_new(CRITICAL, rows, "alert_id", MicroBatch("app", next(batches)))

    assert critical(1, 2, 2) == 2
    assert critical(2, 3) == 1
    assert critical(1, 2, 3) == 0
    ids = [row["alert_id"] for row in tables.read(CRITICAL).collect()]
    assert len(ids) == len(set(ids)) == 3


def test_windows_ignore_duplicates_and_revise_only_changes(
    tables: Tables, append_readings: AppendReadings
) -> None:
    windows = WindowRecomputer(tables)
    windows.update(append_readings(0, [reading(1), reading(1), reading(2, MORNING + timedelta(seconds=1))]))
    windows.update(append_readings(1, [reading(1)]))
    (row,) = tables.read(WINDOWS).collect()
    assert (row["count"], row["revision"], row["is_final"]) == (2, 1, False)
    windows.update(append_readings(2, [reading(3, MORNING + timedelta(seconds=2))]))
    (row,) = tables.read(WINDOWS).collect()
    assert (row["count"], row["revision"], row["is_final"]) == (3, 2, False)


def test_windows_of_a_backlog_three_days_old(tables: Tables, append_readings: AppendReadings) -> None:
    now = datetime.now(UTC).replace(second=0, microsecond=0) - timedelta(minutes=10)
    start = now.replace(minute=0) - timedelta(days=3)
    windows = WindowRecomputer(tables)
    windows.update(append_readings(0, [reading(0, start), reading(1, now, patient_id=OTHER)]))
    backlog = [
        reading(10 + n, start + timedelta(minutes=n), late=True, ingestion_timestamp=now.isoformat())
        for n in range(30)
    ]
    for number, part in enumerate((backlog[20:], backlog[:20], backlog[:5]), start=1):
        windows.update(append_readings(number, part))
    rows = tables.read(WINDOWS).where(f"patient_id != '{OTHER}'").orderBy("window_start").collect()
    assert [utc(row, "window_start") for row in rows] == [start + timedelta(minutes=5 * n) for n in range(6)]
    assert [row["count"] for row in rows] == [6, 5, 5, 5, 5, 5]
    assert [row["is_final"] for row in rows] == [True] * 6
    assert rows[0]["revision"] == 2  # live, then the backlog; its duplicates changed nothing


def test_windows_future_timestamp_finalises_no_window(
    tables: Tables, append_readings: AppendReadings
) -> None:
    windows = WindowRecomputer(tables)
    windows.update(append_readings(0, [reading(1), reading(2, MORNING + timedelta(minutes=5))]))
    ahead = reading(3, MORNING + timedelta(days=400), patient_id=OTHER)
    ahead["ingestion_timestamp"] = "2025-08-24T10:36:00Z"
    windows.update(append_readings(1, [ahead]))
    assert tables.read(WINDOWS).where("is_final").count() == 0
    # 10:45:00 is ten minutes after the first window's end, not yet after the second's.
    windows.update(append_readings(2, [reading(4, MORNING + timedelta(minutes=15), patient_id=OTHER)]))
    finals = tables.read(WINDOWS).where("is_final").collect()
    assert [utc(row, "window_end") for row in finals] == [MORNING + timedelta(minutes=5)]
    # The watermark survives a restart; readings late for a final window still count.
    WindowRecomputer(tables).update(append_readings(3, [reading(5, MORNING + timedelta(seconds=9))]))
    (final,) = tables.read(WINDOWS).where("is_final").collect()
    assert (final["count"], final["revision"]) == (2, 2)


def test_ranges_merge_neighbours_then_the_shortest_gaps() -> None:
    starts = [0, 5, 10, 30, 100, 105]
    assert ranges(starts, 5, 16) == [(0, 15), (30, 35), (100, 110)]
    assert ranges(starts, 5, 2) == [(0, 35), (100, 110)]
    assert ranges(starts, 5, 1) == [(0, 110)]
    assert ranges([7], 5, 16) == [(7, 12)]
