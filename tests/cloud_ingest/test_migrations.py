"""The schema in a real PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg2
import pytest
from psycopg2.extensions import connection

from cloud_ingest.migrations import migrate
from cloud_ingest.settings import Settings
from deploy.local.postgres import PostgresServer


@pytest.fixture
def database(postgres: PostgresServer, request: pytest.FixtureRequest) -> Iterator[connection]:
    dsn = postgres.database(request.node.name[:60])
    settings = Settings.from_environment(dsn.env())
    migrate(settings)
    migrate(settings)  # a second time changes nothing
    made = dsn.connect()
    made.autocommit = True
    yield made
    made.close()


def fetch(database: connection, query: str) -> list[tuple[Any, ...]]:
    with database.cursor() as cursor:
        cursor.execute(query)
        return cursor.fetchall()


def run(database: connection, statement: str) -> None:
    with database.cursor() as cursor:
        cursor.execute(statement)


def test_tables_have_the_agreed_columns(database: connection) -> None:
    rows = fetch(
        database,
        "SELECT table_name, string_agg(column_name, ' ' ORDER BY ordinal_position)"
        " FROM information_schema.columns WHERE table_schema IN ('public', 'identity') GROUP BY 1",
    )
    assert dict(rows) == {
        "alembic_version": "version_num",
        "measurements": "message_id patient_id device_id gateway_id timestamp ingestion_timestamp"
        " recorded_at spo2_pct freq_card freq_resp temp_corp invalid_fields quality_score source late seq"
        " contact motion low_perfusion battery_pct",
        "alerts": "alert_id message_id patient_id device_id gateway_id timestamp ingestion_timestamp"
        " recorded_at type severity value threshold message message_fr",
        "device_status": "status_id message_id device_id patient_id gateway_id timestamp ingestion_timestamp"
        " recorded_at contact motion low_perfusion battery_pct site",
        "ingestion_errors": "error_id timestamp recorded_at source reason field original device_id"
        " gateway_id",
        "patients": "pseudonym display_name",
        "alarm_states": "kind id state updated_at",
        "alarm_positions": "topic partition position",
        "alarm_acknowledgements": "acknowledgement_id patient_id condition alarm_group silence_s"
        " retires by at"
        " applied_at found",
        "alarm_notifications": "notification_id contact patient_id about message at told_at",
        "recorder_books": "topic since consumed recorded duplicates dead_letters heartbeats skipped",
        "recorder_offsets": "topic partition next_offset",
    }


def test_the_reader_sees_public_tables_and_no_names(database: connection) -> None:
    run(database, "CREATE TABLE made_later (n int)")
    run(database, "SET ROLE kidjamo_reader")
    for table in ("measurements", "alerts", "device_status", "ingestion_errors", "made_later"):
        assert fetch(database, f"SELECT * FROM {table}") == []
    with pytest.raises(psycopg2.errors.InsufficientPrivilege):
        fetch(database, "SELECT * FROM identity.patients")
    with pytest.raises(psycopg2.errors.InsufficientPrivilege):
        run(database, "DELETE FROM measurements")


def test_the_recorder_adds_and_takes_nothing_away(database: connection) -> None:
    run(database, "SET ROLE kidjamo_recorder")
    run(
        database,
        "INSERT INTO measurements (message_id, patient_id, device_id, timestamp)"
        " VALUES (gen_random_uuid(), 'p1_x', 'd', now()) ON CONFLICT DO NOTHING",
    )
    for statement in ("DELETE FROM measurements", "UPDATE measurements SET patient_id = 'x'"):
        with pytest.raises(psycopg2.errors.InsufficientPrivilege):
            run(database, statement)
    with pytest.raises(psycopg2.errors.InsufficientPrivilege):
        fetch(database, "SELECT * FROM identity.patients")


def test_the_clinician_keeps_the_names_and_sees_no_vitals(database: connection) -> None:
    run(database, "SET ROLE kidjamo_clinician")
    run(database, "INSERT INTO identity.patients VALUES ('p1_x', 'Awa')")
    assert fetch(database, "SELECT display_name FROM identity.patients") == [("Awa",)]
    with pytest.raises(psycopg2.errors.InsufficientPrivilege):
        fetch(database, "SELECT * FROM measurements")


def test_the_api_acknowledges_alarms_and_changes_none(database: connection) -> None:
    run(database, "SET ROLE kidjamo_api")
    run(database, "INSERT INTO alarm_acknowledgements (patient_id, by) VALUES ('p1_x', 'Fatou')")
    assert fetch(database, "SELECT * FROM alarm_states") == []
    for statement in (
        "UPDATE alarm_acknowledgements SET by = 'nobody'",
        "INSERT INTO alarm_states (kind, id, state) VALUES ('child', 'p1_x', '{}')",
        "SELECT * FROM measurements",
    ):
        with pytest.raises(psycopg2.errors.InsufficientPrivilege):
            run(database, statement)


def test_the_alarms_keep_their_state_and_see_neither_names_nor_readings(database: connection) -> None:
    run(database, "SET ROLE kidjamo_alarms")
    run(database, "INSERT INTO alarm_states (kind, id, state) VALUES ('child', 'p1_x', '{}')")
    run(database, "UPDATE alarm_states SET state = '[]'")
    for table in ("measurements", "identity.patients"):
        with pytest.raises(psycopg2.errors.InsufficientPrivilege):
            fetch(database, f"SELECT * FROM {table}")


def test_roles_cannot_log_in(database: connection) -> None:
    assert fetch(database, "SELECT bool_or(rolcanlogin) FROM pg_roles WHERE rolname LIKE 'kidjamo_%'") == [
        (False,)
    ]
