"""Erasure of a patient from a real PostgreSQL, through the API and the command."""

from __future__ import annotations

import base64
import json
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import psycopg2
import pytest
from psycopg2.extensions import connection

from cloud_ingest.cli import main
from cloud_ingest.errors import NotErased
from cloud_ingest.privacy import erasure, patient_tables
from cloud_ingest.recorder.deduplication import rows_to_insert
from cloud_ingest.recorder.row_mapping import TABLES, error_row
from deploy.local.postgres import Dsn, PostgresServer
from tests.cloud_ingest.recorder.test_recorder import value
from tests.cloud_ingest.running import NOWHERE, RunningApi, environment
from tests.cloud_ingest.samples import a_row
from tests.waiting import PATIENCE_S
from vitals.topics import ERRORS, MEASUREMENTS

AWA, BINTA = "p1_" + "a" * 32, "p1_" + "b" * 32
SAMPLE = "p1_b8351f60d5bad4bcd6f053c32d6ad094"
"""patient-001-ss under the key of `environment`."""


def run(database: connection, statement: str, *values: object) -> list[tuple[Any, ...]]:
    with database, database.cursor() as cursor:
        cursor.execute(statement, values)
        return cursor.fetchall() if cursor.description else []


def fill(database: connection, patient: str, readings: int = 3) -> None:
    """Insert a row of this patient into every table."""
    run(
        database,
        "INSERT INTO measurements (message_id, patient_id, device_id, timestamp)"
        " SELECT gen_random_uuid(), %s, 'd', now() - n * interval '20 years' FROM generate_series(1, %s) n",
        patient,
        readings,
    )
    run(
        database,
        "INSERT INTO alerts (alert_id, message_id, patient_id, device_id, timestamp, type, severity, message,"
        " message_fr) VALUES (gen_random_uuid(), gen_random_uuid(), %s, 'd', now(), 't', 's', '', '')",
        patient,
    )
    run(
        database,
        "INSERT INTO device_status (status_id, message_id, patient_id, device_id, timestamp)"
        " VALUES (gen_random_uuid(), gen_random_uuid(), %s, 'd', now())",
        patient,
    )
    run(
        database,
        "INSERT INTO ingestion_errors (error_id, timestamp, source, reason, original)"
        " VALUES (gen_random_uuid(), now(), 'api', 'bad', %s)",
        json.dumps({"patient_id": patient, "seq": "x"}).encode() + b"\xff",
    )
    run(database, "INSERT INTO identity.patients VALUES (%s, 'a name')", patient)


def keeper(postgres: PostgresServer, dsn: Dsn) -> connection:
    login = postgres.login(f"keeper_{uuid4().hex[:8]}", "kidjamo_keeper", dsn.dbname)
    return login.connect()


def test_erase_deletes_all_rows_of_one_patient_and_no_other(
    postgres: PostgresServer, dsn: Dsn, database: connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patient_tables, "PORTION", 2)
    monkeypatch.setattr(erasure, "PORTION", 2)
    fill(database, AWA, readings=5)
    fill(database, BINTA)
    requested = erasure.request(database, [AWA], "test")
    as_keeper = keeper(postgres, dsn)
    (done,) = erasure.erase_requested(as_keeper)
    as_keeper.close()
    assert done.rows_erased == {
        "measurements": 5, "alerts": 1, "device_status": 1, "ingestion_errors": 1, "patients": 1,
    }  # fmt: skip
    assert (done.request_id, done.database_state, done.lake_state) == (
        requested.request_id,
        "done",
        "requested",
    )
    assert erasure.rows_left(database, [AWA]) == {}
    assert sum(erasure.rows_left(database, [BINTA]).values()) == 7
    for table in ("measurements", "alerts", "device_status", "ingestion_errors"):
        assert run(database, f"SELECT count(*) FROM {table} t WHERE t::text LIKE %s", f"%{AWA}%") == [(0,)]
    assert run(database, "SELECT pseudonym FROM identity.patients") == [(BINTA,)]


def test_erase_covers_a_table_that_was_added_later(
    postgres: PostgresServer, dsn: Dsn, database: connection
) -> None:
    run(database, "CREATE TABLE daily (patient_id text, day date, PRIMARY KEY (patient_id, day))")
    run(database, "INSERT INTO daily VALUES (%s, '2026-01-01'), (%s, '2026-01-01')", AWA, BINTA)
    erasure.request(database, [AWA], "test")
    as_keeper = keeper(postgres, dsn)
    (done,) = erasure.erase_requested(as_keeper)
    as_keeper.close()
    assert done.rows_erased == {"daily": 1}
    assert run(database, "SELECT patient_id FROM daily") == [(BINTA,)]


def test_erase_keeps_the_name_until_the_data_are_gone(database: connection) -> None:
    fill(database, AWA)
    run(database, "CREATE RULE stubborn AS ON DELETE TO alerts_default DO INSTEAD NOTHING")
    run(database, "UPDATE alerts SET timestamp = '1970-01-01'")
    requested = erasure.request(database, [AWA], "test")
    with pytest.raises(NotErased, match="alerts_default"):
        erasure.erase_requested(database)
    stored = erasure.find(database, UUID(requested.request_id))
    assert stored is not None
    assert stored.database_state == "running"
    run(database, "DROP RULE stubborn ON alerts_default")
    (done,) = erasure.erase_requested(database)
    assert done.rows_erased == {
        "measurements": 3, "alerts": 1, "device_status": 1, "ingestion_errors": 1, "patients": 1,
    }  # fmt: skip


def test_late_messages_of_an_erased_patient_are_dropped_until_lifted(database: connection) -> None:
    table = TABLES[MEASUREMENTS]
    rows = [a_row(table, value("d", patient_id=patient)) for patient in (AWA, BINTA)]

    def recorded() -> list[str]:
        with database, database.cursor() as cursor:
            return [row[1] for row in rows_to_insert(cursor, table, rows)]

    assert recorded() == [AWA, BINTA]
    requested = erasure.request(database, [AWA], "test")
    assert recorded() == [BINTA]
    erasure.erase_requested(database)
    assert recorded() == [BINTA]
    assert erasure.lift(database, UUID(requested.request_id))
    assert not erasure.lift(database, UUID(requested.request_id))
    assert recorded() == [AWA, BINTA]


def letter(original: bytes) -> bytes:
    document = {
        "error_id": str(uuid4()), "timestamp": "2026-11-01T00:00:00Z", "source": "api", "reason": "bad",
        "original": base64.b64encode(original).decode(),
    }  # fmt: skip
    return json.dumps(document).encode()


def test_dead_letters_that_name_an_erased_patient_are_dropped(database: connection) -> None:
    table = TABLES[ERRORS]
    originals = [
        b'{"patient_id": "%b", "seq": "x"}' % AWA.encode(),
        b'[{"patient_id":"%b"},{"patient_id":"%b"' % (BINTA.encode(), AWA.encode()),  # a truncated batch
        b'\xff patient_id="%b"' % BINTA.encode(),
        b"{not json",
    ]
    rows = [
        *(a_row(table, letter(original)) for original in originals),
        error_row(uuid4(), datetime.now(UTC), "unreadable", None),
    ]

    def recorded() -> list[bytes | None]:
        with database, database.cursor() as cursor:
            return [row[table.columns.index("original")] for row in rows_to_insert(cursor, table, rows)]

    assert recorded() == [*originals, None]
    requested = erasure.request(database, [AWA], "test")
    assert recorded() == [*originals[2:], None]
    erasure.erase_requested(database)
    assert recorded() == [*originals[2:], None]
    assert erasure.lift(database, UUID(requested.request_id))
    assert recorded() == [*originals, None]


def test_erase_waits_for_a_recorder_that_has_not_seen_the_request(dsn: Dsn, database: connection) -> None:
    """A recorder that read before the request was stored commits after it: its rows are deleted too."""
    recorder = dsn.connect()
    cursor = recorder.cursor()
    table = TABLES[MEASUREMENTS]
    (row,) = rows_to_insert(cursor, table, [a_row(table, value("d", patient_id=AWA))])
    erasure.request(database, [AWA], "test")
    job = threading.Thread(target=erasure.erase_requested, args=(database,))
    job.start()
    job.join(0.5)
    assert job.is_alive()
    cursor.execute(table.insert.replace("%s", "(" + ", ".join(["%s"] * len(row)) + ")"), row)
    recorder.commit()
    job.join(PATIENCE_S)
    assert not job.is_alive()
    recorder.close()
    assert run(database, "SELECT count(*) FROM measurements") == [(0,)]


def test_second_request_for_the_same_patient_returns_the_first(database: connection) -> None:
    first = erasure.request(database, [AWA], "test")
    assert erasure.request(database, [AWA], "test") == first
    assert erasure.request(database, [BINTA], "test").request_id != first.request_id


def test_delete_patient_through_the_api(
    dsn: Dsn, database: connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(database, SAMPLE)
    with RunningApi(environment(tmp_path, NOWHERE, **dsn.env())) as api:
        answer = api.http.delete("/patients/patient-001-ss")
        assert answer.status_code == 202
        where = answer.headers["location"]
        assert answer.json()["state"] == "requested"
        assert "patient-001-ss" not in answer.text
        assert api.http.delete("/patients/patient-001-ss").json()["request_id"] == answer.json()["request_id"]
        for name, setting in dsn.env().items():
            monkeypatch.setenv(name, setting)
        assert main(["erase"]) == 0
        state = api.http.get(where).json()
        assert state["state"] == "running"  # the lake has not erased
        assert state["database"]["state"] == "done"
        assert state["database"]["rows_erased"]["measurements"] == 3
        run(database, "UPDATE erasure_requests SET lake_state = 'done', lake_done_at = now()")
        assert api.http.get(where).json()["state"] == "done"
        assert api.http.get(f"/erasures/{uuid4()}").status_code == 404
        assert api.http.get("/erasures/nonsense").json() == {
            "error": "invalid",
            "field": "request_id",
            "reason": "must be a UUID",
        }
        assert main(["erase", "--lift", answer.json()["request_id"]]) == 0
        assert main(["erase", "--lift", answer.json()["request_id"]]) == 1
        assert api.http.get(where).json()["state"] == "lifted"


def test_delete_patient_without_a_database_is_refused_with_retry_after(tmp_path: Path) -> None:
    with RunningApi(environment(tmp_path, NOWHERE, PGHOST="127.0.0.1", PGPORT="1")) as api:
        answer = api.http.delete("/patients/patient-001-ss")
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "5"
    assert answer.json()["error"] == "database_away"


def test_api_role_can_request_and_cannot_erase(postgres: PostgresServer, dsn: Dsn) -> None:
    login = postgres.login(f"api_{uuid4().hex[:8]}", "kidjamo_api", dsn.dbname)
    api = login.connect()
    requested = erasure.request(api, [AWA], "test")
    assert erasure.find(api, UUID(requested.request_id)) == requested
    for statement in ("DELETE FROM erasure_requests", "SELECT * FROM measurements"):
        with pytest.raises(psycopg2.errors.InsufficientPrivilege):
            run(api, statement)
    api.close()
