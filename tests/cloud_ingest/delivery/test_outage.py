"""Kafka outages: no accepted reading is lost, and responses stay fast."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path
from uuid import uuid4

from deploy.local.kafka import KafkaBroker
from tests.cloud_ingest.running import NOWHERE, RunningApi, ServedApi, environment
from tests.cloud_ingest.samples import reading
from tests.cloud_ingest.topic_reader import read_topic
from tests.waiting import wait_until

MEASUREMENTS = "kidjamo-iot-measurements"


def test_readings_survive_a_broker_restart(own_kafka: KafkaBroker, tmp_path: Path) -> None:
    sent: list[str] = []
    with RunningApi(environment(tmp_path, own_kafka.bootstrap)) as api:

        def send() -> tuple[list[str], float]:
            started = time.monotonic()
            message_id = str(uuid4())
            answer = api.post(reading(message_id=message_id))
            assert answer.status_code == 200
            sent.append(message_id)
            stored: list[str] = answer.json()["stored"]
            return stored, time.monotonic() - started

        assert wait_until(lambda: send()[0] == ["kafka"])

        own_kafka.stop()
        outage = [send() for _ in range(20)]
        assert {store for stored, _ in outage for store in stored} == {"spool"}
        assert max(seconds for _, seconds in outage) < 1.0
        assert wait_until(lambda: api.component("kafka")["status"] == "down")
        assert api.http.get("/health").json()["status"] == "degraded"
        assert api.component("spool")["pending"] >= 20

        own_kafka.start()
        assert wait_until(lambda: send()[0] == ["kafka"])
        assert wait_until(lambda: api.component("spool")["pending"] == 0)
        metrics = api.http.get("/metrics").json()
    ours = set(sent)
    published = (each.value["message_id"] for each in read_topic(own_kafka.bootstrap, MEASUREMENTS))
    seen = [each for each in published if each in ours]
    assert set(seen) == ours
    assert metrics["processed_messages"] == len(sent)
    assert metrics["kafka_topics"][MEASUREMENTS] == len(seen)
    # A record is stored twice where its acknowledgement was lost in the outage.
    assert len(seen) <= len(sent) + 2


def test_frozen_broker_is_detected_and_readings_are_spooled(own_kafka: KafkaBroker, tmp_path: Path) -> None:
    with RunningApi(environment(tmp_path, own_kafka.bootstrap)) as api:
        assert wait_until(lambda: api.post(reading()).json()["stored"] == ["kafka"])
        pid = own_kafka.service.pid
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)
        try:
            started = time.monotonic()
            answer = api.post(reading())
            assert time.monotonic() - started < 1.0
            assert answer.json()["stored"] == ["spool"]
            assert wait_until(lambda: api.component("kafka")["status"] == "down")
        finally:
            os.kill(pid, signal.SIGCONT)
        assert wait_until(lambda: api.component("spool")["pending"] == 0)
        assert wait_until(lambda: api.post(reading()).json()["stored"] == ["kafka"])


def test_full_spool_without_kafka_gets_503(tmp_path: Path) -> None:
    with RunningApi(environment(tmp_path, NOWHERE, SPOOL_MAX_MB="1")) as api:
        batch = {"readings": [reading() for _ in range(400)]}
        answers = [api.post(batch) for _ in range(12)]
        codes = [answer.status_code for answer in answers]
        assert codes[0] == 200
        assert codes[-1] == 503
        assert answers[-1].headers["retry-after"] == "5"
        assert set(answers[-1].json()) == {"error", "field", "reason"}
        assert api.component("spool")["status"] == "down"
        accepted = sum(answer.json()["accepted"] for answer in answers if answer.status_code == 200)
        assert api.component("spool")["pending"] == accepted
        assert api.post({"patient_id": "p"}).status_code in (422, 503)


def test_kill_9_loses_no_accepted_reading(own_kafka: KafkaBroker, tmp_path: Path) -> None:
    acknowledged: list[str] = []
    with ServedApi(environment(tmp_path, NOWHERE), tmp_path) as api:

        def send() -> None:
            while True:
                ids = [str(uuid4()) for _ in range(5)]
                batch = {"readings": [reading(message_id=each) for each in ids]}
                try:
                    if api.http.post("/iot/measurements", json=batch).status_code == 200:
                        acknowledged.extend(ids)
                except Exception:  # noqa: BLE001 - the server is killed under the request
                    return

        sender = threading.Thread(target=send)
        sender.start()
        assert wait_until(lambda: len(acknowledged) > 200)
        api.process.kill()
        sender.join()
    with ServedApi(environment(tmp_path, own_kafka.bootstrap), tmp_path) as api:
        assert wait_until(lambda: api.http.get("/health").json()["components"]["spool"]["pending"] == 0)
        assert api.stop() == 0
    seen = {each.value["message_id"] for each in read_topic(own_kafka.bootstrap, MEASUREMENTS)}
    assert set(acknowledged) <= seen
