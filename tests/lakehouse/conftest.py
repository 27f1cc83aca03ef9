"""One Spark session for all tests of the lake, because it starts slowly."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

import pytest
from pyspark.sql import DataFrame, Row, SparkSession

from lakehouse import raw, session
from lakehouse.sinks import RAW, MicroBatch, Tables
from tests.jvm import QUICK_JVM
from tests.lakehouse.samples import encode
from vitals import topics


@pytest.fixture(scope="package")
def spark() -> Iterator[SparkSession]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in QUICK_JVM.items():
            patch.setenv(name, value)
        running = session.create("kidjamo-tests", memory_mb=1024)
    yield running
    running.stop()


@pytest.fixture
def tables(spark: SparkSession, tmp_path: Path) -> Tables:
    """Create empty tables."""
    tables = Tables(spark, tmp_path / "lake")
    tables.create("clustered")
    return tables


class ParseMessages(Protocol):
    """Function that parses Kafka values of one topic into messages with offsets from 0."""

    def __call__(self, topic: str, *values: object) -> DataFrame: ...


@pytest.fixture
def parse_messages(spark: SparkSession) -> ParseMessages:
    def parse(topic: str, *values: object) -> DataFrame:
        rows = [
            (topic, 0, offset, value if value is None or isinstance(value, bytes) else encode(value))
            for offset, value in enumerate(values)
        ]
        columns = "kafka_topic string, kafka_partition int, kafka_offset long, value binary"
        return raw.parsed(spark.createDataFrame([_with_bytearray(row) for row in rows], columns))

    return parse


def _with_bytearray(row: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(bytearray(field) if isinstance(field, bytes) else field for field in row)


class AppendReadings(Protocol):
    """Function that appends readings to raw as one micro-batch and returns the new rows."""

    def __call__(self, number: int, readings: Sequence[dict[str, Any]]) -> DataFrame: ...


@pytest.fixture
def append_readings(tables: Tables, parse_messages: ParseMessages) -> AppendReadings:
    def append(number: int, readings: Sequence[dict[str, Any]]) -> DataFrame:
        rows = raw.measurements(parse_messages(topics.MEASUREMENTS, *readings)).coalesce(1)
        tables.append(RAW, rows, MicroBatch("test", number))
        return rows

    return append


def utc(row: Row, column: str) -> datetime:
    """Return a time of a collected row; Spark returns local times without a zone."""
    local: datetime = row[column]
    return local.astimezone(UTC)
