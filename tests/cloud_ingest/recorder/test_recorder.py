"""The recorder between real Kafka and real PostgreSQL."""

from __future__ import annotations

import contextlib
import json
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4, uuid5

import psycopg2
import pytest
from kafka import KafkaProducer

from cloud_ingest.kafka.admin import admin_client, create_topics
from cloud_ingest.postgres.migrations import migrate
from cloud_ingest.recorder.recorder import Recorder
from cloud_ingest.recorder.status import RecorderView
from cloud_ingest.settings import Settings
from deploy.local.kafka import KafkaBroker
from deploy.local.postgres import Dsn, PostgresServer
from tests.cloud_ingest.running import RunningApi, environment
from tests.cloud_ingest.samples import CRISIS, reading
from tests.waiting import PATIENCE_S, wait_until
from vitals.reading import NAMESPACE

MEASUREMENTS, ERRORS = "kidjamo-iot-measurements", "kidjamo-iot-errors"


@pytest.fixture(scope="module")
def dsn(own_postgres: PostgresServer) -> Dsn:
    return own_postgres.database("kidjamo-db")


@pytest.fixture(scope="module")
def settings(own_kafka: KafkaBroker, dsn: Dsn) -> Settings:
    create_topics(admin_client(own_kafka.bootstrap), 10)
    return Settings.from_environment({"KAFKA_BOOTSTRAP_SERVERS": own_kafka.bootstrap, **dsn.env()})


@pytest.fixture
def producer(own_kafka: KafkaBroker) -> Iterator[KafkaProducer]:
    connected = KafkaProducer(bootstrap_servers=own_kafka.bootstrap, acks="all")
    yield connected
    connected.close()


@contextlib.contextmanager
def recording(settings: Settings) -> Iterator[None]:
    """Run a recorder on a thread and stop it as SIGTERM would."""
    stop = threading.Event()
    thread = threading.Thread(target=Recorder(settings, stop).run)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(PATIENCE_S)
        assert not thread.is_alive()


def rows(dsn: Dsn, query: str, *values: object) -> list[tuple[Any, ...]]:
    """Return the rows of a query; none while the recorder has not created its tables."""
    database = dsn.connect()
    try:
        with database.cursor() as cursor:
            cursor.execute(query, values)
            return cursor.fetchall()
    except psycopg2.errors.UndefinedTable:
        return []
    finally:
        database.close()


def count(dsn: Dsn, table: str, device: str) -> int:
    return len(rows(dsn, f"SELECT device_id FROM {table} WHERE device_id = %s", device))


def value(device: str, **changes: Any) -> bytes:
    defaults: dict[str, Any] = {
        "message_id": str(uuid4()),
        "ingestion_timestamp": "2025-08-24T10:30:01Z",
        "api_version": "1.0.0",
        "invalid_fields": [],
        "quality_score": 100.0,
    }
    document = reading(device_id=device, **defaults | changes)
    return json.dumps(document).encode()


def test_what_the_api_accepts_is_recorded(
    own_kafka: KafkaBroker, settings: Settings, dsn: Dsn, tmp_path: Path
) -> None:
    device, message_id = f"d-{uuid4().hex[:8]}", str(uuid4())
    signal = {"contact": True, "motion": False, "battery_pct": 10, "site": "wrist\0"}
    sent = reading(CRISIS, device_id=device, message_id=message_id, seq=7, late=True, signal=signal)
    sent["measurements"] = {**CRISIS["measurements"], "freq_resp": 0}
    with RunningApi(environment(tmp_path, own_kafka.bootstrap)) as api:
        for _ in range(2):
            assert api.post(sent).status_code == 200
        assert api.post(reading(device_id=device, seq="x")).status_code == 422
        assert wait_until(lambda: api.component("spool")["pending"] == 0)
        with recording(settings):
            assert wait_until(lambda: count(dsn, "ingestion_errors", device) == 1)
            assert wait_until(lambda: count(dsn, "alerts", device) == 5)
            assert wait_until(lambda: count(dsn, "device_status", device) == 1)
    assert rows(
        dsn,
        "SELECT message_id, left(patient_id, 3), spo2_pct, freq_card, freq_resp, temp_corp, invalid_fields,"
        " late, seq, contact, motion, low_perfusion, battery_pct, timestamp::text"
        " FROM measurements WHERE device_id = %s",
        device,
    ) == [
        (
            message_id, "p1_", 85.0, 120.0, 0.0, 38.5, ["freq_resp"],
            True, 7, True, False, None, 10, "2025-08-24 10:30:00.123456+00",
        )
    ]  # fmt: skip
    types = rows(dsn, "SELECT type, severity FROM alerts WHERE device_id = %s ORDER BY type", device)
    assert types == [
        ("CRITICAL_FEVER_SPO2", "CRITICAL"),
        ("CRITICAL_SPO2", "CRITICAL"),
        ("CRITICAL_TEMPERATURE", "CRITICAL"),
        ("LOW_BATTERY", "TECHNICAL"),
        ("SENSOR_OFF", "TECHNICAL"),
    ]
    ((field, original),) = rows(
        dsn, "SELECT field, original FROM ingestion_errors WHERE device_id = %s", device
    )
    assert field == "seq"
    assert json.loads(bytes(original))["seq"] == "x"


def test_invalid_message_becomes_a_dead_letter_and_the_rest_is_recorded(
    own_kafka: KafkaBroker, settings: Settings, dsn: Dsn, producer: KafkaProducer
) -> None:
    device = f"d-{uuid4().hex[:8]}"
    invalid = [b"{not json", b"\xff\x00", b'{"device_id": "x"}', None]
    sent = [producer.send(MEASUREMENTS, each, b"k", partition=0).get(10) for each in invalid]
    producer.send(MEASUREMENTS, value(device), partition=0).get(10)
    expected = {str(uuid5(NAMESPACE, f"{MEASUREMENTS}/0/{each_sent.offset}")) for each_sent in sent}
    with recording(settings):
        assert wait_until(lambda: count(dsn, "measurements", device) == 1)
        query = "SELECT error_id::text, source, original FROM ingestion_errors WHERE error_id::text = ANY(%s)"
        assert wait_until(lambda: len(rows(dsn, query, list(expected))) == 4)
    letters = rows(dsn, query, list(expected))
    assert {row[1] for row in letters} == {"recorder"}
    assert {bytes(row[2]) for row in letters} == {b"{not json", b"\xff\x00", b'{"device_id": "x"}', b""}


def test_unreadable_dead_letter_does_not_loop(
    own_kafka: KafkaBroker, settings: Settings, dsn: Dsn, producer: KafkaProducer
) -> None:
    mark = f"{{unreadable {uuid4().hex}".encode()
    place = producer.send(ERRORS, mark, partition=1).get(10)
    after = f"d-{uuid4().hex[:8]}"
    producer.send(MEASUREMENTS, value(after)).get(10)
    error_id = str(uuid5(NAMESPACE, f"{ERRORS}/1/{place.offset}"))
    with recording(settings):
        query = "SELECT reason, original FROM ingestion_errors WHERE error_id = %s"
        assert wait_until(lambda: len(rows(dsn, query, error_id)) == 1)
        assert wait_until(lambda: count(dsn, "measurements", after) == 1)
    ((reason, original),) = rows(dsn, query, error_id)
    assert reason.startswith("unreadable dead letter")
    assert bytes(original) == mark
    assert rows(dsn, "SELECT count(*) FROM ingestion_errors WHERE original = %s", mark) == [(1,)]


def test_row_that_the_database_refuses_becomes_a_dead_letter(
    own_kafka: KafkaBroker, settings: Settings, dsn: Dsn, producer: KafkaProducer
) -> None:
    device = f"d-{uuid4().hex[:8]}"
    database = dsn.connect()
    with database, database.cursor() as cursor:
        cursor.execute("ALTER TABLE measurements ADD CONSTRAINT odd CHECK (seq <> 666)")
    for seq in (1, 666, 2):
        place = producer.send(MEASUREMENTS, value(device, seq=seq), partition=2).get(10)
    error_id = uuid5(NAMESPACE, f"{MEASUREMENTS}/2/{place.offset - 1}")
    with recording(settings):
        assert wait_until(lambda: count(dsn, "measurements", device) == 2)
        query = "SELECT reason FROM ingestion_errors WHERE error_id = %s"
        assert wait_until(lambda: len(rows(dsn, query, str(error_id))) == 1)
    with database, database.cursor() as cursor:
        cursor.execute("ALTER TABLE measurements DROP CONSTRAINT odd")
    database.close()


def test_database_outage_loses_nothing(
    settings: Settings, dsn: Dsn, own_postgres: PostgresServer, producer: KafkaProducer
) -> None:
    device = f"d-{uuid4().hex[:8]}"
    with recording(settings):
        producer.send(MEASUREMENTS, value(device)).get(10)
        assert wait_until(lambda: count(dsn, "measurements", device) == 1)
        own_postgres.stop()
        for _ in range(200):
            producer.send(MEASUREMENTS, value(device))
        producer.flush()
        threading.Event().wait(1.0)
        own_postgres.start()
        assert wait_until(lambda: count(dsn, "measurements", device) == 201)


def test_recorder_waits_for_a_database_that_is_down_at_the_start(
    settings: Settings, dsn: Dsn, own_postgres: PostgresServer, producer: KafkaProducer
) -> None:
    device = f"d-{uuid4().hex[:8]}"
    producer.send(MEASUREMENTS, value(device)).get(10)
    own_postgres.stop()
    with recording(settings):
        threading.Event().wait(0.5)
        own_postgres.start()
        assert wait_until(lambda: count(dsn, "measurements", device) == 1)


def test_reading_a_topic_again_changes_nothing(
    own_kafka: KafkaBroker, settings: Settings, dsn: Dsn, producer: KafkaProducer
) -> None:
    device = f"d-{uuid4().hex[:8]}"
    twice = value(device)
    for _ in range(2):
        producer.send(MEASUREMENTS, twice).get(10)
    producer.send(MEASUREMENTS, value(device)).get(10)
    with recording(settings):
        assert wait_until(lambda: count(dsn, "measurements", device) == 2)


def test_health_shows_a_database_outage_and_its_end(
    own_kafka: KafkaBroker, own_postgres: PostgresServer, dsn: Dsn, tmp_path: Path
) -> None:
    with RunningApi(environment(tmp_path, own_kafka.bootstrap, **dsn.env())) as api:
        assert wait_until(lambda: api.component("database") == {"status": "up"})
        own_postgres.stop()
        assert wait_until(lambda: api.component("database")["status"] == "down")
        assert api.http.get("/health").json()["status"] == "degraded"
        own_postgres.start()
        assert wait_until(lambda: api.component("database")["status"] == "up")


def test_heartbeat_is_neither_a_device_state_nor_a_dead_letter(
    own_kafka: KafkaBroker, settings: Settings, dsn: Dsn, tmp_path: Path
) -> None:
    gateway, after = f"gw-{uuid4().hex[:8]}", f"d-{uuid4().hex[:8]}"
    beat = {"status_id": str(uuid4()), "gateway_id": gateway, "timestamp": "2025-08-24T10:30:00Z"}
    with RunningApi(environment(tmp_path, own_kafka.bootstrap)) as api:
        assert api.post(beat | {"watches": ["patient-001-ss"]}, "/iot/heartbeat").status_code == 200
        assert wait_until(lambda: api.component("spool")["pending"] == 0)
        assert api.post(reading(device_id=after, signal={"contact": True})).status_code == 200
        with recording(settings):
            assert wait_until(lambda: count(dsn, "device_status", after) == 1)
    assert count(dsn, "device_status", gateway) == 0
    assert (
        rows(
            dsn,
            "SELECT reason FROM ingestion_errors WHERE source = 'recorder' AND reason LIKE %s",
            "kidjamo-iot-device-status/%",
        )
        == []
    )


def test_accounting_balances_and_shows_skipped_messages(
    own_kafka: KafkaBroker, own_postgres: PostgresServer, producer: KafkaProducer, tmp_path: Path
) -> None:
    accounting_dsn, device = own_postgres.database("accounting"), f"d-{uuid4().hex[:8]}"
    settings = Settings.from_environment(
        {"KAFKA_BOOTSTRAP_SERVERS": own_kafka.bootstrap, **accounting_dsn.env()}
    )
    same = value(device)
    for body in (value(device), b"poison", same, same):
        producer.send(MEASUREMENTS, body, key=b"accounting")
    producer.flush()
    variables = environment(tmp_path, own_kafka.bootstrap, **accounting_dsn.env())
    with RunningApi(variables) as api:

        def recorder() -> dict[str, Any]:
            state: dict[str, Any] = api.http.get("/reconciliation").json()["recorder"]
            return state

        assert recorder() == {"status": "unknown", "reason": "no recorder has run yet"}
        with recording(settings):
            assert wait_until(lambda: count(accounting_dsn, "measurements", device) == 2)
            assert wait_until(lambda: recorder().get("lag") == 0)
            state = recorder()
        assert (state["difference"], state["skipped"]) == (0, 0)
        accounted = (state[name] for name in ("recorded", "duplicates", "dead_letters", "heartbeats"))
        assert state["consumed"] == sum(accounted)
        assert state["duplicates"] >= 1
        assert state["dead_letters"] >= 1
        consumed = state["consumed"]

        with contextlib.closing(accounting_dsn.connect()) as database, database, database.cursor() as cursor:
            cursor.execute(
                "UPDATE recorder_offsets SET next_offset = next_offset - 2"
            )  # two messages were never read
        producer.send(MEASUREMENTS, value(device), key=b"accounting")
        producer.flush()
        with recording(settings):
            assert wait_until(lambda: recorder()["consumed"] > consumed)
            assert wait_until(lambda: count(accounting_dsn, "measurements", device) == 3)
        assert (recorder()["skipped"], recorder()["difference"]) == (2, 2)
        assert api.http.get("/reconciliation").json()["balanced"] is False


def test_messages_of_a_kafka_that_was_created_anew_are_counted(
    fresh_kafka: KafkaBroker, own_postgres: PostgresServer, caplog: pytest.LogCaptureFixture
) -> None:
    renewed_dsn, device = own_postgres.database("anew"), f"d-{uuid4().hex[:8]}"
    settings = Settings.from_environment(
        {"KAFKA_BOOTSTRAP_SERVERS": fresh_kafka.bootstrap, **renewed_dsn.env()}
    )
    view = RecorderView(settings)

    def send(messages: int) -> None:
        create_topics(admin_client(fresh_kafka.bootstrap), 10)
        sender = KafkaProducer(bootstrap_servers=fresh_kafka.bootstrap, acks="all")
        for _ in range(messages):
            sender.send(MEASUREMENTS, value(device), partition=0).get(10)
        sender.close()

    send(5)
    with recording(settings):
        assert wait_until(lambda: count(renewed_dsn, "measurements", device) == 5)
    fresh_kafka.stop()
    shutil.rmtree(fresh_kafka.directory / "data")
    fresh_kafka.start()
    send(2)
    assert wait_until(lambda: view().get("lag") == 2)
    with recording(settings):
        assert wait_until(lambda: view().get("lag") == 0)
    state = view()
    assert (state["consumed"], state["recorded"], state["skipped"], state["difference"]) == (7, 7, 0, 0)
    assert count(renewed_dsn, "measurements", device) == 7
    assert "it was created anew" in caplog.text


def test_malformed_readings_of_an_erased_patient_leave_no_row_and_accounting_balances(
    own_kafka: KafkaBroker, own_postgres: PostgresServer, tmp_path: Path
) -> None:
    erased_dsn, device = own_postgres.database("erased"), f"d-{uuid4().hex[:8]}"
    variables = environment(tmp_path, own_kafka.bootstrap, **erased_dsn.env())
    settings = Settings.from_environment(variables)
    migrate(settings)
    erased, other = f"patient-{uuid4().hex}", f"patient-{uuid4().hex}"
    with RunningApi(variables) as api:
        assert api.http.delete(f"/patients/{erased}").status_code == 202
        for patient in (erased, other):
            malformed = reading(device_id=device, patient_id=patient, seq="x")
            assert api.post(malformed).status_code == 422
        assert wait_until(lambda: api.component("spool")["pending"] == 0)
        with recording(settings):
            assert wait_until(lambda: count(erased_dsn, "ingestion_errors", device) == 1)
            assert wait_until(lambda: api.http.get("/reconciliation").json()["recorder"]["lag"] == 0)
            report = api.http.get("/reconciliation").json()
    assert (report["recorder"]["difference"], report["balanced"]) == (0, True)
    assert count(erased_dsn, "ingestion_errors", device) == 1


def test_one_id_with_different_contents_is_one_row_with_all_its_alerts(
    own_kafka: KafkaBroker, settings: Settings, dsn: Dsn, tmp_path: Path
) -> None:
    device, message_id = f"d-{uuid4().hex[:8]}", str(uuid4())
    with RunningApi(environment(tmp_path, own_kafka.bootstrap)) as api:
        for measurements in ({"spo2_pct": 97}, {"spo2_pct": 80}, {"temp_corp": 39}):
            sent = reading(device_id=device, message_id=message_id, measurements=measurements)
            assert api.post(sent).status_code == 200
        assert wait_until(lambda: api.component("spool")["pending"] == 0)
    with recording(settings):
        assert wait_until(lambda: count(dsn, "alerts", device) == 2)
        assert wait_until(lambda: count(dsn, "measurements", device) == 1)
    first = rows(dsn, "SELECT spo2_pct, temp_corp FROM measurements WHERE device_id = %s", device)
    assert first == [(97.0, None)]
