"""The nine integration checks of the report, against the running system."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4, uuid5

import httpx
import pytest
from kafka import KafkaConsumer, TopicPartition

from tests.e2e.conftest import SystemUnderTest
from tests.waiting import PATIENCE_S, wait_for

METRICS_KEYS = {
    "processed_messages", "kafka_topics", "api_uptime_s", "latency_p50_s", "latency_p95_s", "latency_p99_s",
    "throughput_eps", "valid_pct", "alerts_by_type",
}  # fmt: skip
KAFKA_TOPICS = {
    "kidjamo-iot-measurements", "kidjamo-iot-alerts", "kidjamo-iot-device-status", "kidjamo-iot-errors",
}  # fmt: skip


def reading(**measurements: float) -> dict[str, Any]:
    """Return a reading of now with a new message id."""
    return {
        "patient_id": "patient-check",
        "device_id": "device-check",
        "timestamp": datetime.now(UTC).isoformat(),
        "message_id": str(uuid4()),
        "measurements": measurements,
    }


def post(system: SystemUnderTest, document: Any, route: str = "/iot/measurements") -> httpx.Response:
    return httpx.post(f"{system.api_url}{route}", json=document, timeout=PATIENCE_S)


def on_topic(system: SystemUnderTest, topic: str, wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """Return the first matching message of a topic, read with an independent client."""
    consumer = KafkaConsumer(bootstrap_servers=system.whole().kafka.bootstrap, enable_auto_commit=False)
    deadline = time.monotonic() + PATIENCE_S
    try:
        partitions = [TopicPartition(topic, number) for number in consumer.partitions_for_topic(topic) or ()]
        consumer.assign(partitions)
        consumer.seek_to_beginning(*partitions)
        while time.monotonic() < deadline:
            for batch in consumer.poll(timeout_ms=500).values():
                for message in batch:
                    value = json.loads(message.value)
                    if wanted(value):
                        return dict(value)
    finally:
        consumer.close()
    raise AssertionError(f"not on {topic}")


def rows(system: SystemUnderTest, statement: str, *values: object) -> list[tuple[Any, ...]]:
    with closing(system.whole().dsn.connect()) as connection, connection.cursor() as cursor:
        cursor.execute(statement, values)
        return cursor.fetchall()


@pytest.mark.integration_check("health")
def test_health_names_its_components(system: SystemUnderTest) -> None:
    answer = httpx.get(f"{system.api_url}/health", timeout=PATIENCE_S)
    assert answer.status_code == 200
    body = answer.json()
    assert body["status"] in {"healthy", "degraded"}
    assert body["components"].keys() >= {"kafka", "database", "spool"}
    assert body["api_version"] == "1.0.0"
    if system.stack:
        wait_for(
            lambda: httpx.get(f"{system.api_url}/health", timeout=PATIENCE_S).json()["status"] == "healthy"
        )


@pytest.mark.integration_check("normal")
def test_normal_reading_is_accepted_without_alerts(system: SystemUnderTest) -> None:
    sent = reading(spo2_pct=97, freq_card=92, freq_resp=18, temp_corp=36.8)
    answer = post(system, sent)
    assert answer.status_code == 200
    body = answer.json()
    assert (body["status"], body["message_id"], body["alerts"]) == ("accepted", sent["message_id"], [])
    assert set(body["stored"]) <= {"kafka", "spool"}
    assert body["stored"]


@pytest.mark.integration_check("critical")
def test_critical_reading_returns_every_rule_it_meets(system: SystemUnderTest) -> None:
    body = post(system, reading(spo2_pct=85.0, freq_card=190, freq_resp=30, temp_corp=38.5)).json()
    found = {(alert["type"], alert["severity"], alert["threshold"]) for alert in body["alerts"]}
    assert found == {
        ("CRITICAL_SPO2", "CRITICAL", 88.0),
        ("CRITICAL_TEMPERATURE", "CRITICAL", 38.0),
        ("CRITICAL_HEART_RATE", "CRITICAL", 180.0),
        ("CRITICAL_FEVER_SPO2", "CRITICAL", 92.0),
    }
    assert all(alert["message"] for alert in body["alerts"])


@pytest.mark.integration_check("ingest")
def test_ingest_accepts_the_older_flat_form(system: SystemUnderTest) -> None:
    flat = {
        "patient_id": "patient-check",
        "spo2_pct": 96,
        "freq_card": 88,
        "freq_resp": 17,
        "temp_corp": 36.6,
    }
    answer = post(system, flat, "/ingest")
    assert answer.status_code == 200
    assert answer.json()["status"] == "accepted"


@pytest.mark.integration_check("kafka consumption")
def test_accepted_reading_is_on_kafka_under_a_pseudonym(system: SystemUnderTest) -> None:
    system.whole()
    sent = reading(spo2_pct=95, temp_corp=36.9)
    post(system, sent).raise_for_status()
    value = on_topic(system, "kidjamo-iot-measurements", lambda v: v["message_id"] == sent["message_id"])
    assert value["measurements"] == {"spo2_pct": 95, "temp_corp": 36.9}
    assert value["patient_id"].startswith("p1_")
    assert len(value["patient_id"]) == 35
    assert value["api_version"] == "1.0.0"
    assert datetime.fromisoformat(value["ingestion_timestamp"]).utcoffset() == timedelta(0)


@pytest.mark.integration_check("database insertion")
def test_accepted_reading_reaches_postgresql(system: SystemUnderTest) -> None:
    system.whole()
    sent = reading(spo2_pct=94, freq_card=101)
    post(system, sent).raise_for_status()
    statement = "SELECT spo2_pct, freq_card, temp_corp, device_id FROM measurements WHERE message_id = %s"
    assert wait_for(lambda: rows(system, statement, sent["message_id"])) == [(94, 101, None, "device-check")]


@pytest.mark.integration_check("critical workflow")
def test_critical_reading_becomes_one_alert_in_database_and_silver(system: SystemUnderTest) -> None:
    stack = system.whole()
    sent = reading(spo2_pct=84)
    for _ in range(2):  # a sender's retry
        post(system, sent).raise_for_status()
    expected = str(uuid5(UUID(sent["message_id"]), "CRITICAL_SPO2"))
    statement = "SELECT alert_id::text, type, value FROM alerts WHERE message_id = %s"
    assert wait_for(lambda: rows(system, statement, sent["message_id"])) == [(expected, "CRITICAL_SPO2", 84)]

    def in_silver() -> int:
        return stack.stage_sources().copies_in_silver(expected)

    assert wait_for(in_silver) == 1


@pytest.mark.integration_check("metrics")
def test_metrics_are_available_as_json_and_prometheus(system: SystemUnderTest) -> None:
    post(system, reading(spo2_pct=97)).raise_for_status()
    body = httpx.get(f"{system.api_url}/metrics", timeout=PATIENCE_S).json()
    assert body.keys() >= METRICS_KEYS
    assert body["processed_messages"] > 0
    assert set(body["kafka_topics"]) == KAFKA_TOPICS
    assert 0 <= body["valid_pct"] <= 100
    text = httpx.get(f"{system.api_url}/metrics", headers={"Accept": "text/plain"}, timeout=PATIENCE_S)
    assert text.headers["content-type"].startswith("text/plain")
    assert "# TYPE" in text.text


@pytest.mark.integration_check("error handling")
def test_malformed_body_is_refused_and_stored_and_does_not_affect_others(system: SystemUnderTest) -> None:
    mark = uuid4().hex
    refused = httpx.post(
        f"{system.api_url}/iot/measurements", content=f'{{"broken": "{mark}"', timeout=PATIENCE_S
    )
    assert refused.status_code == 422
    good, bad = reading(spo2_pct=97), reading(spo2_pct=96) | {"timestamp": "yesterday"}
    batch = post(system, {"readings": [good, bad, reading(temp_corp=36.5)]}).json()
    assert (batch["accepted"], batch["rejected"]) == (2, 1)
    assert [result["status"] for result in batch["results"]] == ["accepted", "rejected", "accepted"]
    if system.stack:
        kept = on_topic(
            system, "kidjamo-iot-errors", lambda v: mark.encode() in base64.b64decode(v.get("original") or "")
        )
        assert kept["reason"]
