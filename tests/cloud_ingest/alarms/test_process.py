"""The alarms process with real Kafka, real PostgreSQL and a web service as contact; kills and outages."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from kafka import KafkaConsumer, KafkaProducer, TopicPartition

from cloud_ingest.kafka.admin import admin_client, create_topics
from cloud_ingest.postgres.migrations import migrate
from cloud_ingest.privacy import erasure
from cloud_ingest.privacy.key_rotation import rekey
from cloud_ingest.settings import Settings
from deploy.local.kafka import KafkaBroker
from deploy.local.postgres import Dsn, PostgresServer
from tests.cloud_ingest.running import RunningApi, environment
from tests.cloud_ingest.samples import CRISIS, NORMAL, reading
from tests.cloud_ingest.topic_reader import of_device
from tests.waiting import PATIENCE_S, wait_until
from tests.web_service import NotificationWebService
from vitals.pseudonym import Pseudonymiser

ALERTS, DEVICE_STATUS = "kidjamo-iot-alerts", "kidjamo-iot-device-status"
TOPICS = ("kidjamo-iot-measurements", ALERTS, DEVICE_STATUS)
UNDELIVERED = "SELECT count(*) FROM alarm_notifications WHERE patient_id = %s AND told_at IS NULL"
DELIVERED = "SELECT count(*) FROM alarm_notifications WHERE patient_id = %s AND told_at IS NOT NULL"
STATES_NAMING = "SELECT count(*) FROM alarm_states WHERE position(%s in state::text) > 0"
"""States that name a patient, that of the gateway included."""
SPO2_ONLY = {**CRISIS, "measurements": {"spo2_pct": 85.0}}


class AlarmsCommand:
    """The command `kidjamo-ingest alarms` as a process."""

    def __init__(self, variables: dict[str, str], directory: Path) -> None:
        self._variables, self._directory = variables, directory
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "cloud_ingest.cli", "alarms"],
            env={**os.environ, **self._variables},
            cwd=self._directory,
            stderr=(self._directory / "alarms.log").open("a"),
        )

    def end(self, by: signal.Signals) -> int:
        self.process.send_signal(by)
        return self.process.wait(PATIENCE_S)

    @property
    def log(self) -> str:
        return (self._directory / "alarms.log").read_text()


class CloudWithAlarms:
    """The API, the alarms process and a contact; one test's patient."""

    def __init__(
        self, api: RunningApi, alarms: AlarmsCommand, contact: NotificationWebService, database: Dsn
    ) -> None:
        self.api, self.alarms, self.contact, self.database = api, alarms, contact, database
        self.patient = f"patient-{uuid4().hex[:8]}"
        self.device, self.gateway = f"d-{uuid4().hex[:8]}", f"gw-{uuid4().hex[:8]}"

    def measure(self, base: dict[str, Any], ago: timedelta = timedelta()) -> str:
        """Send a reading of this test's patient; return the pseudonym."""
        at = (datetime.now(UTC) - ago).isoformat()
        sent = reading(base, patient_id=self.patient, device_id=self.device, timestamp=at)
        assert self.api.post(sent).status_code == 200
        return self.pseudonym

    def beat(self, **changes: Any) -> Any:
        document = {
            "status_id": str(uuid4()),
            "gateway_id": self.gateway,
            "timestamp": datetime.now(UTC).isoformat(),
            "contacts_reachable": True,
            "watches": [self.patient],
        }
        answer = self.api.post(document | changes, "/iot/heartbeat")
        assert answer.status_code == 200, answer.text
        return answer.json()

    @property
    def pseudonym(self) -> str:
        hidden = self.api.app.state.services.ingest.processor.pseudonyms
        return str(hidden.pseudonym(self.patient))

    def received(self, title: str | None = None) -> list[dict[str, Any]]:
        """Return the messages that the contact received about this test's patient, or with a title."""
        wanted = title or f"ALARME {self.pseudonym[:8]}"
        return [each for each in self.contact.received if each["title"] == wanted]

    def open_alarms_of_patient(self) -> list[dict[str, Any]]:
        answer = self.api.http.get("/alarms")
        children = answer.json()["children"] if answer.status_code == 200 else []
        return next((each["alarms"] for each in children if each["patient_id"] == self.pseudonym), [])

    def phase(self) -> str | None:
        return next((each["phase"] for each in self.open_alarms_of_patient()), None)

    def acknowledge(self, **body: Any) -> Any:
        return self.api.post({"by": "Fatou", **body}, f"/alarms/{self.pseudonym}/acknowledge")


@pytest.fixture(scope="module")
def dsn(own_postgres: PostgresServer) -> Dsn:
    database = own_postgres.database("alarms")
    migrate(Settings.from_environment(database.env()))
    return database


@pytest.fixture(scope="module")
def contact() -> Iterator[NotificationWebService]:
    with NotificationWebService() as service:
        yield service


@pytest.fixture(scope="module")
def variables(
    own_kafka: KafkaBroker,
    dsn: Dsn,
    contact: NotificationWebService,
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, str]:
    directory = tmp_path_factory.mktemp("alarms")
    create_topics(admin_client(own_kafka.bootstrap), 10)
    (directory / "nurse.url").touch(0o600)
    (directory / "nurse.url").write_text(contact.url)
    (directory / "contacts.toml").write_text('[[contact]]\nname = "nurse"\nurl_file = "nurse.url"\n')
    contacts = {"ALARM_CONTACTS_FILE": str(directory / "contacts.toml")}
    return environment(directory, own_kafka.bootstrap, **dsn.env(), **contacts)


@pytest.fixture(scope="module")
def running(variables: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[AlarmsCommand]:
    process = AlarmsCommand(variables, tmp_path_factory.mktemp("alarms-log"))
    yield process
    assert process.end(signal.SIGTERM) == 0, process.log


@pytest.fixture(scope="module")
def api(variables: dict[str, str]) -> Iterator[RunningApi]:
    with RunningApi(variables) as running_api:
        yield running_api


@pytest.fixture
def cloud(
    api: RunningApi, running: AlarmsCommand, contact: NotificationWebService, dsn: Dsn
) -> CloudWithAlarms:
    assert wait_until(lambda: api.component("database")["status"] == "up")
    return CloudWithAlarms(api, running, contact, dsn)


def test_alarm_is_notified_once_although_the_process_is_killed(cloud: CloudWithAlarms) -> None:
    cloud.measure(SPO2_ONLY)
    assert wait_until(lambda: len(cloud.received()) == 1), cloud.alarms.log
    assert cloud.received()[0]["message"] == (
        "Manque d'oxygène\u00a0: au pire SpO2 85 %, depuis moins d'une minute"
    )
    assert wait_until(lambda: one(cloud, DELIVERED) == 1)
    assert cloud.phase() == "ACTIVE"
    cloud.alarms.end(signal.SIGKILL)
    cloud.measure(SPO2_ONLY)
    cloud.alarms.start()
    assert wait_until(lambda: [each["records"] for each in cloud.open_alarms_of_patient()] == [2])
    time.sleep(1)
    assert len(cloud.received()) == 1
    assert cloud.patient not in cloud.alarms.log
    assert str(cloud.contact.server.server_port) not in cloud.alarms.log


def test_acknowledgement_is_applied_within_two_seconds_and_survives_a_kill(cloud: CloudWithAlarms) -> None:
    cloud.measure(SPO2_ONLY)
    assert wait_until(lambda: cloud.phase() == "ACTIVE"), cloud.alarms.log
    assert cloud.acknowledge(group="SPO2", minutes=5).status_code == 202
    assert wait_until(lambda: cloud.phase() == "ACKNOWLEDGED" and one(cloud, DELIVERED) == 1)
    cloud.alarms.end(signal.SIGKILL)
    cloud.alarms.start()
    cloud.measure(SPO2_ONLY)
    assert wait_until(lambda: [each["records"] for each in cloud.open_alarms_of_patient()] == [2])
    (alarm,) = cloud.open_alarms_of_patient()
    assert (alarm["phase"], alarm["silence"]["by"]) == ("ACKNOWLEDGED", "Fatou")
    assert len(cloud.received()) == 1
    database = cloud.database.connect()
    with database.cursor() as cursor:
        cursor.execute(
            "SELECT by, found, applied_at - at < interval '3 seconds' FROM alarm_acknowledgements"
            " WHERE patient_id = %s",
            (cloud.pseudonym,),
        )
        assert cursor.fetchall() == [("Fatou", ["SPO2"], True)]
    database.close()


def test_acknowledgement_made_while_the_process_is_down_does_not_silence_later_readings(
    cloud: CloudWithAlarms,
) -> None:
    cloud.measure(SPO2_ONLY)
    assert wait_until(lambda: cloud.phase() == "ACTIVE" and one(cloud, DELIVERED) == 1), cloud.alarms.log
    cloud.alarms.end(signal.SIGKILL)
    assert cloud.acknowledge().status_code == 202
    cloud.measure({**SPO2_ONLY, "measurements": {"spo2_pct": 70.0}})
    cloud.alarms.start()
    assert wait_until(lambda: len(cloud.received()) == 2), cloud.alarms.log
    assert "SpO2 70 %" in cloud.received()[1]["message"]
    assert wait_until(lambda: [each["records"] for each in cloud.open_alarms_of_patient()] == [2])
    assert cloud.phase() == "ACTIVE"


def test_backlog_raises_no_live_alarm(cloud: CloudWithAlarms) -> None:
    cloud.measure(SPO2_ONLY, ago=timedelta(minutes=20))
    other = CloudWithAlarms(cloud.api, cloud.alarms, cloud.contact, cloud.database)
    other.measure(SPO2_ONLY)
    assert wait_until(lambda: len(other.received()) == 1), cloud.alarms.log
    assert (cloud.received(), cloud.phase()) == ([], None)


def test_reading_from_the_future_is_quarantined_and_still_alarms(cloud: CloudWithAlarms) -> None:
    at = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    sent = reading(SPO2_ONLY, patient_id=cloud.patient, device_id=cloud.device, timestamp=at)
    assert cloud.api.post(sent).status_code == 422
    assert wait_until(lambda: len(cloud.received()) == 1), cloud.alarms.log


def test_covered_patient_is_left_to_the_gateway_until_it_reaches_no_contact(cloud: CloudWithAlarms) -> None:
    cloud.beat()
    cloud.measure(SPO2_ONLY)
    assert wait_until(lambda: cloud.phase() == "ACTIVE"), cloud.alarms.log
    (alarm,) = cloud.open_alarms_of_patient()
    assert alarm["left_to_gateway"] is True
    time.sleep(1)
    assert cloud.received() == []
    cloud.beat(contacts_reachable=False)
    assert wait_until(lambda: len(cloud.received()) == 1), cloud.alarms.log
    assert "la passerelle ne peut plus prévenir personne" in cloud.received()[0]["message"]


def test_heartbeat_response_contains_acknowledgements_of_the_cloud(cloud: CloudWithAlarms) -> None:
    assert cloud.beat()["acknowledgements"] == []
    cloud.measure(SPO2_ONLY)
    assert wait_until(lambda: cloud.phase() == "ACTIVE"), cloud.alarms.log
    cloud.acknowledge(minutes=5)
    (acknowledged,) = cloud.beat()["acknowledgements"]
    assert (acknowledged["patient_id"], acknowledged["group"], acknowledged["by"]) == (
        cloud.patient,
        None,
        "Fatou",
    )
    length = datetime.fromisoformat(acknowledged["until"]) - datetime.fromisoformat(acknowledged["at"])
    assert length == timedelta(minutes=5)


def test_silent_gateway_is_notified_recorded_once_and_cleared(
    cloud: CloudWithAlarms, own_kafka: KafkaBroker
) -> None:
    long_ago = (datetime.now(UTC) - timedelta(minutes=3)).isoformat()
    document = {
        "kind": "heartbeat",
        "status_id": str(uuid4()),
        "message_id": str(uuid4()),
        "device_id": cloud.gateway,
        "gateway_id": cloud.gateway,
        "timestamp": long_ago,
        "ingestion_timestamp": long_ago,
        "contacts_reachable": True,
        "watches": [cloud.pseudonym],
    }
    producer = KafkaProducer(bootstrap_servers=own_kafka.bootstrap, acks="all")
    producer.send(DEVICE_STATUS, json.dumps(document).encode()).get(10)
    producer.close()
    title = f"Avertissement {cloud.gateway}"
    assert wait_until(lambda: len(cloud.received(title)) == 1), cloud.alarms.log
    is_recorded = wait_until(lambda: len(of_device(own_kafka.bootstrap, ALERTS, cloud.gateway)) == 1)
    assert is_recorded, cloud.alarms.log
    (alert,) = of_device(own_kafka.bootstrap, ALERTS, cloud.gateway)
    assert alert.key == cloud.pseudonym
    assert (alert.value["type"], alert.value["severity"]) == ("GATEWAY_SILENT", "TECHNICAL")
    key = f"GATEWAY_SILENT:{cloud.gateway}"
    assert wait_until(lambda: key in conditions(cloud))
    assert cloud.api.post({"key": key, "by": "F"}, "/alarms/conditions/acknowledge").status_code == 202
    assert wait_until(lambda: conditions(cloud)[key]["silenced_by"] == "F")
    cloud.alarms.end(signal.SIGKILL)
    cloud.alarms.start()
    cloud.beat()
    assert wait_until(lambda: key not in conditions(cloud)), cloud.alarms.log
    assert len(cloud.received(title)) == 1
    assert len(of_device(own_kafka.bootstrap, ALERTS, cloud.gateway)) == 1


def conditions(cloud: CloudWithAlarms) -> dict[str, Any]:
    return {each["key"]: each for each in cloud.api.http.get("/alarms").json()["conditions"]}


def test_database_outage_delays_no_alarm_and_state_is_written_after_it(
    cloud: CloudWithAlarms, own_postgres: PostgresServer
) -> None:
    cloud.measure(NORMAL)
    own_postgres.stop()
    try:
        assert wait_until(lambda: cloud.api.http.get("/alarms").status_code == 503)
        refused = cloud.acknowledge()
        assert (refused.status_code, refused.json()["error"]) == (503, "database_away")
        assert "Retry-After" in refused.headers
        started = time.monotonic()
        cloud.measure(SPO2_ONLY)
        assert wait_until(lambda: len(cloud.received()) == 1), cloud.alarms.log
        assert time.monotonic() - started < 5
    finally:
        own_postgres.start()
    assert wait_until(lambda: cloud.phase() == "ACTIVE" and one(cloud, DELIVERED) == 1), cloud.alarms.log
    cloud.alarms.end(signal.SIGKILL)
    cloud.alarms.start()
    cloud.measure(SPO2_ONLY)
    assert wait_until(lambda: [each["records"] for each in cloud.open_alarms_of_patient()] == [2])
    assert len(cloud.received()) == 1


def test_database_that_is_down_at_the_start_loses_nothing(
    cloud: CloudWithAlarms, own_postgres: PostgresServer
) -> None:
    cloud.measure(SPO2_ONLY)
    assert wait_until(lambda: cloud.phase() == "ACTIVE" and one(cloud, DELIVERED) == 1), cloud.alarms.log
    assert cloud.acknowledge().status_code == 202
    assert wait_until(lambda: cloud.phase() == "ACKNOWLEDGED")
    other = CloudWithAlarms(cloud.api, cloud.alarms, cloud.contact, cloud.database)
    cloud.alarms.end(signal.SIGKILL)
    own_postgres.stop()
    try:
        cloud.alarms.start()
        other.measure(SPO2_ONLY)
        assert wait_until(lambda: len(other.received()) == 1), cloud.alarms.log
    finally:
        own_postgres.start()
    assert wait_until(lambda: other.phase() == "ACTIVE"), cloud.alarms.log
    assert cloud.phase() == "ACKNOWLEDGED"
    assert (len(cloud.received()), len(other.received())) == (1, 1)


def test_kafka_is_read_again_after_an_outage(cloud: CloudWithAlarms, own_kafka: KafkaBroker) -> None:
    own_kafka.stop()
    try:
        cloud.measure(SPO2_ONLY)  # into the API's spool
        time.sleep(2)
        assert cloud.alarms.process.poll() is None
    finally:
        own_kafka.start()
    assert wait_until(lambda: len(cloud.received()) == 1), cloud.alarms.log


def test_contact_that_fails_is_notified_when_it_works_again(cloud: CloudWithAlarms) -> None:
    cloud.contact.status = 500
    cloud.measure(SPO2_ONLY)
    assert wait_until(lambda: len(cloud.received()) >= 1), cloud.alarms.log
    assert one(cloud, UNDELIVERED) == 1
    cloud.alarms.end(signal.SIGKILL)
    cloud.contact.status = 200
    attempts = len(cloud.received())
    cloud.alarms.start()
    assert wait_until(lambda: len(cloud.received()) == attempts + 1), cloud.alarms.log
    assert wait_until(lambda: one(cloud, UNDELIVERED) == 0)


def one(cloud: CloudWithAlarms, query: str) -> Any:
    database = cloud.database.connect()
    try:
        with database.cursor() as cursor:
            cursor.execute(query, (cloud.pseudonym,))
            (result,) = cursor.fetchone() or (None,)
            return result
    finally:
        database.close()


def test_second_process_takes_the_lease(
    cloud: CloudWithAlarms, variables: dict[str, str], tmp_path: Path
) -> None:
    first, second = cloud.alarms, AlarmsCommand(variables, tmp_path)
    assert wait_until(lambda: "this one stands by" in first.log), first.log
    cloud.measure(SPO2_ONLY)
    assert wait_until(lambda: len(cloud.received()) == 1), second.log
    time.sleep(5)
    read_before = first.log.count("reading 9 partitions")
    second.end(signal.SIGKILL)
    other = CloudWithAlarms(cloud.api, first, cloud.contact, cloud.database)
    other.measure(SPO2_ONLY)
    assert wait_until(lambda: len(other.received()) == 1), first.log
    assert first.log.count("reading 9 partitions") == read_before + 1
    assert (first.process.poll(), len(cloud.received())) == (None, 1)


def test_standby_process_ends_promptly(
    cloud: CloudWithAlarms, variables: dict[str, str], tmp_path: Path
) -> None:
    second, before = AlarmsCommand(variables, tmp_path), cloud.alarms.log.count("this one stands by")
    try:
        assert wait_until(lambda: cloud.alarms.log.count("this one stands by") > before)
        started = time.monotonic()
        assert cloud.alarms.end(signal.SIGTERM) == 0
        assert time.monotonic() - started < 2
    finally:
        assert second.end(signal.SIGTERM) == 0, second.log
        read_before = cloud.alarms.log.count("reading 9 partitions")
        cloud.alarms.start()
    assert wait_until(lambda: cloud.alarms.log.count("reading 9 partitions") > read_before)


def has_processed_all(cloud: CloudWithAlarms, kafka: KafkaBroker) -> bool:
    """Whether the alarms process has processed and stored everything on its topics."""
    consumer = KafkaConsumer(bootstrap_servers=kafka.bootstrap)
    places = [TopicPartition(topic, number) for topic in TOPICS for number in range(3)]
    ends = {(at.topic, at.partition): end for at, end in consumer.end_offsets(places).items()}
    consumer.close()
    database = cloud.database.connect()
    with database.cursor() as cursor:
        cursor.execute("SELECT topic, partition, position FROM alarm_positions")
        stored = {(topic, partition): position for topic, partition, position in cursor.fetchall()}
    database.close()
    return bool(ends == stored)


def test_running_process_forgets_an_erased_patient(cloud: CloudWithAlarms, own_kafka: KafkaBroker) -> None:
    cloud.beat(contacts_reachable=False)
    cloud.measure(SPO2_ONLY)
    assert wait_until(lambda: one(cloud, DELIVERED) == 1), cloud.alarms.log
    database = cloud.database.connect()
    erasure.request(database, [cloud.pseudonym], "test")
    (done,) = erasure.erase_requested(database)
    assert done.rows_erased["alarm_notifications"] == 1
    cloud.beat(contacts_reachable=False)
    cloud.measure(SPO2_ONLY)
    assert wait_until(lambda: has_processed_all(cloud, own_kafka)), cloud.alarms.log
    assert wait_until(lambda: one(cloud, STATES_NAMING) == 0)
    assert len(cloud.received()) == 1
    assert erasure.rows_left(database, [cloud.pseudonym]) == {}
    database.close()


def test_alarm_continues_under_a_new_pseudonym(cloud: CloudWithAlarms) -> None:
    cloud.measure(SPO2_ONLY)
    assert wait_until(lambda: one(cloud, DELIVERED) == 1), cloud.alarms.log
    keys = Pseudonymiser({1: bytes(range(32)), 2: bytes(range(1, 33))})
    new, old = keys.every_pseudonym(cloud.patient)
    assert old == cloud.pseudonym
    database = cloud.database.connect()
    rekey(database, keys, [cloud.patient])
    database.close()
    assert wait_until(lambda: one(cloud, STATES_NAMING) == 0), cloud.alarms.log
    cloud.measure(SPO2_ONLY)

    def records_of_open_alarms() -> dict[str, list[int]]:
        children = cloud.api.http.get("/alarms").json()["children"]
        return {each["patient_id"]: [alarm["records"] for alarm in each["alarms"]] for each in children}

    assert wait_until(lambda: records_of_open_alarms().get(new) == [2]), cloud.alarms.log
    assert old not in records_of_open_alarms()
    assert len(cloud.received()) == 1
    assert len(cloud.received(f"ALARME {new[:8]}")) == 0


def test_unknown_patient_and_unbounded_silence_are_refused(cloud: CloudWithAlarms) -> None:
    assert cloud.acknowledge().status_code == 404
    for body in ({"minutes": 31}, {"minutes": 0}, {"group": "PAIN"}, {"by": ""}, {"by": "a\0"}, {"who": 1}):
        assert cloud.acknowledge(**body).status_code == 422
    unknown = {"key": "GATEWAY_SILENT:nobody", "by": "F"}
    assert cloud.api.post(unknown, "/alarms/conditions/acknowledge").status_code == 404
