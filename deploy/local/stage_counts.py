"""Readings of each stage, counted by identity to check that none was lost or duplicated."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg2
from deltalake import DeltaTable, QueryBuilder
from deltalake.exceptions import DeltaError, TableNotFoundError
from kafka import KafkaConsumer, TopicPartition

from deploy.local.postgres import Dsn
from vitals import topics
from vitals.reading import parse_reading
from vitals.rules import Severity, alert_id, evaluate

RAW = "raw/iot_measurements"
SILVER = "silver/critical_alerts"
WINDOWS = "bronze/iot_aggregations"


@dataclass(frozen=True, slots=True)
class StageReadings:
    """Readings of one stage: number of copies by identity."""

    copies: Counter[str]

    @property
    def distinct(self) -> int:
        """Number of distinct readings."""
        return len(self.copies)

    def missing(self, expected: set[str]) -> set[str]:
        """Return the expected readings that this stage does not have."""
        return expected - self.copies.keys()

    def repeated(self) -> int:
        """Return the number of duplicate copies."""
        return self.copies.total() - len(self.copies)


@dataclass(frozen=True, slots=True)
class StageCounts:
    """Readings of all stages at one time.

    Attributes:
        critical: ids of the alerts that must be in silver.
        erased: readings of children whose erasure was requested; PostgreSQL must not have them.
        windows: number of bronze windows.
        readings_in_windows: number of readings counted in them.
    """

    bracelet: StageReadings
    gateway: StageReadings
    api: StageReadings
    kafka: StageReadings
    raw: StageReadings
    postgresql: StageReadings
    silver: StageReadings
    critical: set[str] = field(repr=False)
    erased: set[str] = field(default_factory=set, repr=False)
    windows: int = 0
    readings_in_windows: int = 0

    def stages(self) -> dict[str, int]:
        """Return the figures defined by the contract."""
        return {
            "bracelet": self.bracelet.distinct,
            "gateway": self.gateway.distinct,
            "api": self.api.distinct,
            "kafka": self.kafka.distinct,
            "raw": self.raw.distinct,
            "postgresql": self.postgresql.distinct,
            "silver_critical": self.silver.distinct,
            "bronze_windows": self.windows,
        }

    def lost(self) -> dict[str, int]:
        """Return how many of the readings measured by bracelets or received by the gateway each stage lacks.

        Readings the API rejected with a reason, such as a date in the future, are dead letters and not lost.
        """
        measured = set(self.bracelet.copies) | set(self.gateway.copies)
        missing = {
            "gateway": len(self.gateway.missing(measured)),
            "api": len(self.api.missing(measured)),
            "kafka": len(self.kafka.missing(measured)),
            "raw": len(self.raw.missing(measured)),
            "postgresql": len(self.postgresql.missing(measured - self.erased)),
            "silver_critical": len(self.silver.missing(self.critical)),
            "bronze_windows": max(0, self.raw.distinct - self.readings_in_windows),
        }
        return {name: count for name, count in missing.items() if count}

    def duplicated(self) -> int:
        """Return the number of duplicates in the deduplicated stages: PostgreSQL, silver, window counts."""
        in_windows = max(0, self.readings_in_windows - self.raw.distinct)
        return self.postgresql.repeated() + self.silver.repeated() + in_windows


@dataclass(frozen=True, slots=True)
class StageSources:
    """Locations of the stages' readings."""

    ledger: Path
    outbox: Path
    bootstrap: str
    lake: Path
    dsn: Dsn

    def count(self) -> StageCounts:
        """Read every stage; a stage that does not exist yet is empty."""
        committed, delivered, critical_at_gateway = self._read_outbox()
        measured, critical = self._read_sent_readings()
        produced, erased = list(self._read_kafka()), self._erased_pseudonyms()
        return StageCounts(
            bracelet=StageReadings(Counter(measured)),
            gateway=StageReadings(Counter(committed)),
            api=StageReadings(Counter(delivered)),
            kafka=StageReadings(Counter(identity for identity, _ in produced)),
            raw=StageReadings(Counter(self._column(RAW, "message_id"))),
            postgresql=StageReadings(Counter(self._postgresql_ids())),
            silver=StageReadings(Counter(self._column(SILVER, "alert_id"))),
            critical=critical | critical_at_gateway,
            erased={identity for identity, patient in produced if patient in erased},
            windows=self._number(WINDOWS, "count(*)"),
            readings_in_windows=self._number(WINDOWS, "sum(count)"),
        )

    def critical_rows(self) -> int:
        """Return the number of rows in silver."""
        return self._number(SILVER, "count(*)")

    def copies_in_silver(self, alert: str) -> int:
        """Return how many copies of one alert are in silver."""
        return self._column(SILVER, "alert_id").count(alert)

    def _read_sent_readings(self) -> tuple[list[str], set[str]]:
        if not self.ledger.exists():
            return [], set()
        lines = self.ledger.read_text().splitlines()
        readings = [json.loads(line) for line in lines]
        critical = {identity for reading in readings for identity in critical_alerts(reading)}
        return [reading["message_id"] for reading in readings], critical

    def _read_outbox(self) -> tuple[list[str], list[str], set[str]]:
        if not self.outbox.exists():
            return [], [], set()
        with closing(sqlite3.connect(f"file:{self.outbox}?mode=ro", uri=True, timeout=10)) as outbox:
            rows = outbox.execute(
                "SELECT message_id, delivered_at, body FROM readings WHERE rejected_at IS NULL"
            ).fetchall()
        critical = {identity for _, _, body in rows for identity in critical_alerts(json.loads(body))}
        return [row[0] for row in rows], [row[0] for row in rows if row[1] is not None], critical

    def _read_kafka(self) -> Iterator[tuple[str, str]]:
        """Yield the message id and pseudonym of each message."""
        consumer = KafkaConsumer(bootstrap_servers=self.bootstrap, enable_auto_commit=False)
        try:
            numbers = consumer.partitions_for_topic(topics.MEASUREMENTS) or set()
            partitions = [TopicPartition(topics.MEASUREMENTS, number) for number in numbers]
            consumer.assign(partitions)
            consumer.seek_to_beginning(*partitions)
            ends = consumer.end_offsets(partitions)
            while any(consumer.position(partition) < ends[partition] for partition in partitions):
                for batch in consumer.poll(timeout_ms=1000).values():
                    for message in batch:
                        reading = json.loads(message.value)
                        yield reading["message_id"], reading["patient_id"]
        finally:
            consumer.close()

    def _postgresql_ids(self) -> list[str]:
        return self._first_column("SELECT message_id::text FROM measurements")

    def _erased_pseudonyms(self) -> set[str]:
        """Return the pseudonyms of children whose erasure was requested."""
        return set(
            self._first_column("SELECT unnest(pseudonyms) FROM erasure_requests WHERE lifted_at IS NULL")
        )

    def _first_column(self, statement: str) -> list[str]:
        try:
            with closing(self.dsn.connect()) as connection, connection.cursor() as cursor:
                cursor.execute(statement)
                return [row[0] for row in cursor.fetchall()]
        except psycopg2.errors.UndefinedTable:
            return []

    def _column(self, table: str, column: str) -> list[str]:
        return [str(value) for (value,) in self._query(table, f"SELECT {column} FROM t")]

    def _number(self, table: str, expression: str) -> int:
        rows = self._query(table, f"SELECT {expression} FROM t")
        return int(rows[0][0] or 0) if rows else 0

    def _query(self, table: str, statement: str) -> list[tuple[Any, ...]]:
        try:
            delta = DeltaTable(str(self.lake / table))
        except (TableNotFoundError, DeltaError):
            return []
        result = QueryBuilder().register("t", delta).execute(statement).read_all()
        return list(zip(*(column.to_pylist() for column in result.columns), strict=True))


def critical_alerts(reading: dict[str, object]) -> set[str]:
    """Return the ids of the critical alerts that this reading must raise."""
    parsed = parse_reading(reading)
    identity = parsed.message_id or UUID(int=0)
    return {str(alert_id(identity, a.type)) for a in evaluate(parsed) if a.severity is Severity.CRITICAL}
