"""The schema in a real PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg2
import pytest
from psycopg2.extensions import connection

from cloud_ingest.postgres.migrations import migrate
from cloud_ingest.privacy import identities
from cloud_ingest.settings import Settings
from deploy.local.postgres import PostgresServer


@pytest.fixture
def database(postgres: PostgresServer, request: pytest.FixtureRequest) -> Iterator[connection]:
    dsn = postgres.database(request.node.name[:60])
    settings = Settings.from_environment(dsn.env())
    migrate(settings)
    migrate(settings)  # a second time changes nothing
    connected = dsn.connect()
    connected.autocommit = True
    yield connected
    connected.close()


def fetch(database: connection, query: str) -> list[tuple[Any, ...]]:
    with database.cursor() as cursor:
        cursor.execute(query)
        return cursor.fetchall()


def run(database: connection, statement: str) -> None:
    with database.cursor() as cursor:
        cursor.execute(statement)


def test_tables_have_the_expected_columns(database: connection) -> None:
    rows = fetch(
        database,
        "SELECT table_name, string_agg(column_name, ' ' ORDER BY ordinal_position)"
        " FROM information_schema.columns WHERE table_schema IN ('public', 'identity')"
        " AND table_name !~ '_(default|[0-9]{4}_[0-9]{2})$' GROUP BY 1",
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
        "alarm_states": "kind id state updated_at patient_id",
        "alarm_positions": "topic partition position",
        "alarm_acknowledgements": "acknowledgement_id patient_id condition alarm_group silence_s"
        " retires by at"
        " applied_at found",
        "alarm_notifications": "notification_id contact patient_id about message at told_at",
        "recorder_books": "topic since consumed recorded duplicates dead_letters heartbeats skipped",
        "recorder_offsets": "topic partition next_offset",
        "erasure_requests": "request_id pseudonyms requested_at requested_by database_state database_done_at"
        " rows_erased lake_state lake_done_at lifted_at",
        "pseudonym_links": "old_pseudonym new_pseudonym linked_at database_done_at lake_done_at",
    }


def test_reader_sees_public_tables_and_no_names(database: connection) -> None:
    run(database, "CREATE TABLE made_later (n int)")
    run(database, "SET ROLE kidjamo_reader")
    for table in ("measurements", "alerts", "device_status", "ingestion_errors", "made_later"):
        assert fetch(database, f"SELECT * FROM {table}") == []
    with pytest.raises(psycopg2.errors.InsufficientPrivilege):
        fetch(database, "SELECT * FROM identity.patients")
    for statement in (
        "DELETE FROM measurements",
        "INSERT INTO measurements_default SELECT * FROM measurements",
        "SELECT * FROM erasure_requests",
        "SELECT ensure_month('measurements', '2020-01-01')",
    ):
        with pytest.raises(psycopg2.errors.InsufficientPrivilege):
            run(database, statement)


def test_new_partition_grants_the_same_roles(database: connection) -> None:
    run(database, "SET ROLE kidjamo_recorder")
    run(database, "SELECT ensure_month('measurements', '2024-02-01')")
    run(
        database,
        "INSERT INTO measurements (message_id, patient_id, device_id, timestamp)"
        " VALUES (gen_random_uuid(), 'p1_x', 'd', '2024-02-29T12:00Z')",
    )
    for statement in ("DROP TABLE measurements_2024_02", "DELETE FROM measurements_2024_02"):
        with pytest.raises(psycopg2.errors.InsufficientPrivilege):
            run(database, statement)
    run(database, "SET ROLE kidjamo_reader")
    assert fetch(database, "SELECT patient_id FROM measurements_2024_02") == [("p1_x",)]
    with pytest.raises(psycopg2.errors.InsufficientPrivilege):
        run(database, "DELETE FROM measurements_2024_02")
    run(database, "SET ROLE kidjamo_clinician")
    with pytest.raises(psycopg2.errors.InsufficientPrivilege):
        fetch(database, "SELECT * FROM measurements_2024_02")


def test_keeper_deletes_and_inserts_no_reading(database: connection) -> None:
    run(database, "SET ROLE kidjamo_keeper")
    run(database, "DELETE FROM measurements")
    run(database, "DELETE FROM identity.patients")
    for statement in (
        "INSERT INTO measurements (message_id, patient_id, device_id, timestamp)"
        " VALUES (gen_random_uuid(), 'p1_x', 'd', now())",
        "DELETE FROM alembic_version",
        "SELECT drop_months_before('measurements', '2020-01-01')",
    ):
        with pytest.raises(psycopg2.errors.InsufficientPrivilege):
            run(database, statement)


def test_upgrade_of_an_older_database_keeps_its_rows(postgres: PostgresServer) -> None:
    dsn = postgres.database("before_partitions")
    settings = Settings.from_environment(dsn.env())
    migrate(settings, "0001")
    connected = dsn.connect()
    connected.autocommit = True
    run(
        connected,
        "INSERT INTO measurements (message_id, patient_id, device_id, timestamp, recorded_at)"
        " SELECT gen_random_uuid(), 'p1_x', 'd', moment, '2026-01-01T00:00Z' FROM"
        " unnest(ARRAY[now(), now() - interval '2 months', '1970-01-01T00:00Z', '2999-01-01T00:00Z']) moment",
    )
    before = fetch(connected, "SELECT * FROM measurements ORDER BY message_id")
    migrate(settings)
    assert fetch(connected, "SELECT * FROM measurements ORDER BY message_id") == before
    assert len(before) == 4
    assert fetch(connected, "SELECT count(*) FROM measurements_default") == [(2,)]
    connected.close()


def test_recorder_inserts_and_deletes_nothing(database: connection) -> None:
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


def test_clinician_writes_names_and_sees_no_vitals(database: connection) -> None:
    run(database, "SET ROLE kidjamo_clinician")
    run(database, "INSERT INTO identity.patients VALUES ('p1_x', 'Awa')")
    assert fetch(database, "SELECT display_name FROM identity.patients") == [("Awa",)]
    with pytest.raises(psycopg2.errors.InsufficientPrivilege):
        fetch(database, "SELECT * FROM measurements")


def test_api_acknowledges_alarms_and_changes_no_state(database: connection) -> None:
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


def test_api_reads_the_recorders_accounting_and_changes_nothing(database: connection) -> None:
    run(database, "SET ROLE kidjamo_api")
    for table in ("recorder_books", "recorder_offsets"):
        assert fetch(database, f"SELECT * FROM {table}") == []
        with pytest.raises(psycopg2.errors.InsufficientPrivilege):
            run(database, f"DELETE FROM {table}")


def test_alarms_role_writes_states_and_sees_neither_names_nor_readings(database: connection) -> None:
    run(database, "SET ROLE kidjamo_alarms")
    run(database, "INSERT INTO alarm_states (kind, id, state) VALUES ('child', 'p1_x', '{}')")
    run(database, "UPDATE alarm_states SET state = '[]'")
    run(database, "DELETE FROM alarm_states")
    run(database, "INSERT INTO alarm_states (kind, id, state) VALUES ('child', 'p1_x', '{}')")
    with database.cursor() as cursor:
        assert identities.find(cursor, ["p1_x"]) == identities.Identities()
    for table in ("measurements", "identity.patients"):
        with pytest.raises(psycopg2.errors.InsufficientPrivilege):
            fetch(database, f"SELECT * FROM {table}")


def test_roles_cannot_log_in(database: connection) -> None:
    assert fetch(database, "SELECT bool_or(rolcanlogin) FROM pg_roles WHERE rolname LIKE 'kidjamo_%'") == [
        (False,)
    ]
