"""The whole lake on a real broker: every topic into its tables, restarts, and unreadable messages."""

from __future__ import annotations

import dataclasses
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from deltalake import DeltaTable, QueryBuilder
from kafka import KafkaProducer
from pyspark.sql import SparkSession

from deploy.local.kafka import KafkaBroker
from lakehouse import flows
from lakehouse.pipeline import Pipeline
from lakehouse.settings import LakeSettings
from lakehouse.sinks import ALERTS, CRITICAL, ERRORS, RAW, STATUS, WINDOWS
from tests.lakehouse.samples import alert, encode, message_id, reading, status
from tests.waiting import PATIENCE_S, wait_for
from vitals import topics


@pytest.fixture
def settings(fresh_kafka: KafkaBroker, tmp_path: Path) -> LakeSettings:
    environment = {
        "DATA_LAKE_PATH": str(tmp_path / "lake"),
        "KAFKA_BOOTSTRAP_SERVERS": fresh_kafka.bootstrap,
    }
    return LakeSettings.from_environment(environment)


@contextmanager
def running(spark: SparkSession, settings: LakeSettings) -> Iterator[Pipeline]:
    pipeline = Pipeline(spark, settings)
    thread = threading.Thread(target=pipeline.run)
    thread.start()
    try:
        yield pipeline
    finally:
        pipeline.stop()
        thread.join(PATIENCE_S)
        assert not thread.is_alive(), "the lake did not stop"


def send(settings: LakeSettings, topic: str, *values: bytes) -> None:
    producer = KafkaProducer(bootstrap_servers=settings.bootstrap_servers, acks="all")
    for value in values:
        producer.send(topic, value)
    producer.flush()
    producer.close()


def column(settings: LakeSettings, table: str, expression: str) -> list[Any]:
    """Return a column, read without Spark."""
    delta = DeltaTable(str(settings.path / table))
    result = QueryBuilder().register("t", delta).execute(f"SELECT {expression} AS v FROM t").read_all()
    return sorted(result["v"].to_pylist())


def arrived(settings: LakeSettings, table: str, rows: int) -> bool:
    path = str(settings.path / table)
    return DeltaTable.is_deltatable(path) and DeltaTable(path).count() >= rows


def test_every_topic_reaches_its_tables_and_a_restart_adds_no_duplicates(
    spark: SparkSession, settings: LakeSettings
) -> None:
    poison = b'{"message_id": '
    dead_letter = {
        "error_id": message_id(99),
        "timestamp": "2025-08-24T10:30:00Z",
        "source": "api",
        "reason": "not JSON",
        "original": "bm90IGpzb24=",
    }
    send(settings, topics.MEASUREMENTS, encode(reading(1)), poison, encode(reading(2)), encode(reading(2)))
    send(settings, topics.ALERTS, encode(alert(2)), encode(alert(2)))
    send(settings, topics.DEVICE_STATUS, encode(status(1)))
    send(settings, topics.ERRORS, encode(dead_letter))
    with running(spark, settings) as lake:
        wait_for(lambda: arrived(settings, ERRORS, 2) and arrived(settings, WINDOWS, 1))
        wait_for(lambda: all(flow.committed_at for flow in lake.board.all()))
    assert column(settings, RAW, "message_id") == [message_id(1), message_id(2), message_id(2)]
    assert column(settings, WINDOWS, "count") == [2]
    assert (
        column(settings, ALERTS, "alert_id")
        == column(settings, CRITICAL, "alert_id")
        == [alert(2)["alert_id"]]
    )
    assert column(settings, STATUS, "message_id") == [message_id(1)]
    assert [bytes(original) for original in column(settings, ERRORS, "original")] == [b"not json", poison]
    assert {flow.flow: flow.rows for flow in lake.board.all()} == {
        flows.MEASUREMENTS: 3, flows.ERRORS: 2, flows.ALERTS: 1, flows.DEVICE_STATUS: 1,
        flows.CRITICAL_ALERTS: 1, flows.AGGREGATIONS: 3,
    }  # fmt: skip
    for table in (RAW, ERRORS, ALERTS, CRITICAL, STATUS, WINDOWS):
        path = str(settings.path / table)
        assert spark.read.format("delta").load(path).count() == DeltaTable(path).count()

    send(settings, topics.MEASUREMENTS, encode(reading(3)))
    with running(spark, settings):
        wait_for(lambda: column(settings, WINDOWS, "count") == [3])
    assert column(settings, RAW, "message_id") == [message_id(n) for n in (1, 2, 2, 3)]

    with running(spark, dataclasses.replace(settings, reset_checkpoints=True)):
        wait_for(lambda: arrived(settings, RAW, 8))
    assert column(settings, WINDOWS, "count") == [3]
    assert column(settings, CRITICAL, "alert_id") == [alert(2)["alert_id"]]


def test_lake_reports_and_waits_for_an_unavailable_kafka(
    spark: SparkSession, settings: LakeSettings, fresh_kafka: KafkaBroker
) -> None:
    fresh_kafka.stop()
    with running(spark, settings) as lake:
        wait_for(lambda: "does not respond" in lake.board.read(flows.MEASUREMENTS).last_error)
        fresh_kafka.start()
        send(settings, topics.MEASUREMENTS, encode(reading(1)))
        wait_for(lambda: arrived(settings, RAW, 1))
        wait_for(lambda: lake.board.read(flows.MEASUREMENTS).last_error == "")
    status_file = json.loads((settings.status / f"{flows.MEASUREMENTS}.json").read_text())
    assert status_file["rows"] == 1
