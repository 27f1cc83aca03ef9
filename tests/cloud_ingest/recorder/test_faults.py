"""The recorder as a process with its own role: kills, database outages, invalid messages."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from kafka import KafkaProducer

from cloud_ingest.kafka.admin import admin_client, create_topics
from cloud_ingest.postgres.migrations import migrate
from cloud_ingest.settings import Settings
from deploy.local.kafka import KafkaBroker
from deploy.local.postgres import Dsn, PostgresServer
from tests.cloud_ingest.recorder.test_recorder import count, rows, value
from tests.waiting import PATIENCE_S, wait_until
from vitals.topics import ALERTS, MEASUREMENTS


@pytest.fixture(scope="module")
def dsn(own_postgres: PostgresServer) -> Dsn:
    database = own_postgres.database("faults")
    migrate(Settings.from_environment(database.env()))
    return database


@pytest.fixture(scope="module")
def variables(own_kafka: KafkaBroker, own_postgres: PostgresServer, dsn: Dsn) -> dict[str, str]:
    """The environment of a recorder with the privileges of kidjamo_recorder only."""
    create_topics(admin_client(own_kafka.bootstrap), 10)
    login = own_postgres.login("recorder", "kidjamo_recorder", dsn.dbname)
    return {"KAFKA_BOOTSTRAP_SERVERS": own_kafka.bootstrap, **login.env()}


@pytest.fixture
def producer(own_kafka: KafkaBroker) -> Iterator[KafkaProducer]:
    connected = KafkaProducer(bootstrap_servers=own_kafka.bootstrap, acks="all")
    yield connected
    connected.close()


def start(variables: dict[str, str], directory: Path) -> subprocess.Popen[bytes]:
    with (directory / "recorder.log").open("a") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "cloud_ingest.cli", "recorder"], env=os.environ | variables, stderr=log
        )


@contextmanager
def recording(variables: dict[str, str], directory: Path) -> Iterator[None]:
    process = start(variables, directory)
    try:
        yield
        process.terminate()
        assert process.wait(PATIENCE_S) == 0
    finally:
        process.kill()
        process.wait()


def test_outage_and_kills_under_load_lose_and_duplicate_nothing(
    variables: dict[str, str], dsn: Dsn, own_postgres: PostgresServer, producer: KafkaProducer, tmp_path: Path
) -> None:
    device = f"d-{uuid4().hex[:8]}"
    sent: list[str] = []
    ended = threading.Event()

    def load() -> None:
        """Send 500 readings per second over two months, every tenth twice."""
        while not ended.is_set():
            for number in range(25):
                message_id = str(uuid4())
                stamp = f"2026-{9 + number % 2:02}-15T10:30:00Z"
                body = value(device, message_id=message_id, timestamp=stamp)
                for _ in range(2 if number % 10 == 0 else 1):
                    producer.send(MEASUREMENTS, body, key=str(number).encode())
                sent.append(message_id)
            ended.wait(0.05)

    loading = threading.Thread(target=load)
    loading.start()
    process = start(variables, tmp_path)
    try:
        for outage in (False, True, False):
            before = count(dsn, "measurements", device)
            assert wait_until(lambda before=before: count(dsn, "measurements", device) > before)  # type: ignore[misc]
            if outage:
                own_postgres.stop()
                time.sleep(1)
            process.kill()
            process.wait()
            process = start(variables, tmp_path)
            if outage:
                time.sleep(1)
                own_postgres.start()
        ended.set()
        loading.join()
        producer.flush()
        assert wait_until(lambda: count(dsn, "measurements", device) >= len(sent))
    finally:
        ended.set()
        loading.join()
        process.kill()
        process.wait()
    stored = [
        row[0] for row in rows(dsn, "SELECT message_id::text FROM measurements WHERE device_id = %s", device)
    ]
    assert len(stored) == len(set(stored)) == len(sent)
    assert set(stored) == set(sent)


def alert(device: str, **changes: Any) -> bytes:
    document = {
        "alert_id": str(uuid4()), "message_id": str(uuid4()), "patient_id": "p1_x", "device_id": device,
        "timestamp": "2026-11-01T00:00:00Z", "type": "CRITICAL_SPO2", "severity": "CRITICAL", "value": 85.0,
    }  # fmt: skip
    return json.dumps(document | changes).encode()


def test_values_postgresql_cannot_store_become_dead_letters(
    variables: dict[str, str], dsn: Dsn, producer: KafkaProducer, tmp_path: Path
) -> None:
    device = f"d-{uuid4().hex[:8]}"
    valid = [
        (ALERTS, alert(device, type="A\0B")),  # NUL is replaced
        (MEASUREMENTS, value(device, timestamp="0001-01-01T00:00:00Z")),
        (MEASUREMENTS, value(device, seq=2**63 - 1, quality_score=1.7e308)),
        (ALERTS, alert(device, value=5e-324)),
    ]
    invalid = [
        (MEASUREMENTS, value(device, seq=2**63)),
        (MEASUREMENTS, value(device, signal={"battery_pct": 70_000})),
        (MEASUREMENTS, value(device, patient_id="p\0x")),
        (MEASUREMENTS, value(device).replace(b"97.0", b"1e999")),
        (MEASUREMENTS, value(device, timestamp="10000-01-01T00:00:00Z")),
        (ALERTS, alert(device, type="x").replace(b'"x"', b'"\\ud800"')),
        (ALERTS, alert(device, alert_id="no-uuid")),
    ]
    for topic, body in (*invalid, *valid):
        producer.send(topic, body, key=b"one")
    producer.flush()
    with recording(variables, tmp_path):
        assert wait_until(lambda: count(dsn, "measurements", device) == 2)
        assert wait_until(lambda: count(dsn, "alerts", device) == 2)
        query = (
            "SELECT count(*) FROM ingestion_errors WHERE source = 'recorder' AND position(%s IN original) > 0"
        )
        assert wait_until(lambda: rows(dsn, query, device.encode()) == [(len(invalid),)])
    assert rows(dsn, "SELECT type FROM alerts WHERE device_id = %s AND value = 85", device) == [("A\ufffdB",)]
