"""A PostgreSQL that hangs delays the requests that need it, and nothing else."""

from __future__ import annotations

import asyncio
import gzip
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import httpx
import pytest
from psycopg2.extensions import connection

from cloud_ingest.alarms.queries import AlarmQueries
from cloud_ingest.errors import DatabaseUnavailable
from cloud_ingest.metrics.probes import Probe
from cloud_ingest.settings import Settings
from deploy.local.postgres import Dsn
from tests.cloud_ingest.running import NOWHERE, RunningApi, environment
from tests.cloud_ingest.samples import NORMAL, reading
from tests.waiting import wait_until

CHILD = '{"episodes": {"patient_id": "p1_a"}, "since": "2025-08-24T02:00:00Z"}'


def lock(database: connection, table: str) -> None:
    with database.cursor() as cursor:
        cursor.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")


@pytest.fixture
def probe() -> Iterator[Probe]:
    started = Probe("PostgreSQL", lambda: None)
    started.start()
    assert started.wait_for_answer(5)
    yield started
    started.stop()


async def test_query_whose_turn_comes_too_late_is_dropped(
    dsn: Dsn, database: connection, probe: Probe
) -> None:
    with database, database.cursor() as cursor:
        cursor.execute("INSERT INTO alarm_states (kind, id, state) VALUES ('child', 'p1_a', %s)", (CHILD,))
    queries = AlarmQueries(Settings.from_environment(dsn.env()), probe)
    lock(database, "alarm_acknowledgements")
    started = time.monotonic()
    requests = [queries.acknowledge_patient("p1_a", "Fatou", None, None) for _ in range(20)]
    answers = await asyncio.gather(*requests, return_exceptions=True)
    assert 3 <= time.monotonic() - started < 4
    assert {type(each) for each in answers} == {DatabaseUnavailable}
    await asyncio.sleep(0.5)
    try:
        snapshot = await queries.snapshot()
    finally:
        database.rollback()
    assert list(snapshot.patients) == [], "it answers again, although the table is still locked"
    with database, database.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM alarm_acknowledgements")
        assert cursor.fetchone() == (0,)
    queries.close()


@pytest.mark.parametrize(
    ("method", "path", "table"),
    [
        ("POST", "/iot/heartbeat", "alarm_acknowledgements"),
        ("GET", "/alarms", "alarm_states"),
        ("DELETE", "/patients/patient-001", "erasure_requests"),
        ("GET", "/reconciliation", "recorder_books"),
    ],
)
def test_database_that_hangs_does_not_delay_a_compressed_request(
    dsn: Dsn, database: connection, tmp_path: Path, method: str, path: str, table: str
) -> None:
    readings = [reading(NORMAL, message_id=str(uuid4())) for _ in range(1800)]
    body = gzip.compress(json.dumps({"readings": readings}).encode(), 0)
    assert len(body) > 64 * 1024
    with RunningApi(environment(tmp_path, NOWHERE, **dsn.env())) as api:
        assert wait_until(lambda: api.component("database")["status"] == "up")
        lock(database, table)

        def ask() -> None:
            heartbeat = {
                "status_id": str(uuid4()),
                "gateway_id": "gw-1",
                "timestamp": "2025-08-24T02:00:00Z",
                "contacts_reachable": True,
                "watches": ["patient-001"],
            }
            with httpx.Client(base_url=api.http.base_url, timeout=20) as client:
                client.request(method, path, json=heartbeat if method == "POST" else None)

        asking = [threading.Thread(target=ask) for _ in range(12)]
        for each in asking:
            each.start()
        time.sleep(0.5)
        started = time.monotonic()
        answer = api.http.post("/iot/measurements", content=body, headers={"Content-Encoding": "gzip"})
        took = time.monotonic() - started
        database.rollback()
        for each in asking:
            each.join()
        assert (answer.status_code, took < 1.2) == (200, True), took
