"""Readings and dead letters over HTTP with a real Kafka, read back by another client."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
import zstandard

from deploy.local.kafka import KafkaBroker
from tests.cloud_ingest.running import RunningApi
from tests.cloud_ingest.samples import CRISIS, reading
from tests.cloud_ingest.topic_reader import of_device, read_topic

MEASUREMENTS, ALERTS = "kidjamo-iot-measurements", "kidjamo-iot-alerts"
STATUS, ERRORS = "kidjamo-iot-device-status", "kidjamo-iot-errors"


def test_single_reading_response_follows_the_contract(
    api: RunningApi, kafka: KafkaBroker, device: str
) -> None:
    answer = api.post(reading(CRISIS, device_id=device))
    assert answer.status_code == 200
    body = answer.json()
    assert set(body) == {"status", "message_id", "alerts", "stored"}
    assert (body["status"], body["stored"]) == ("accepted", ["kafka"])
    assert [(a["type"], a["severity"], a["value"], a["threshold"]) for a in body["alerts"]] == [
        ("CRITICAL_SPO2", "CRITICAL", 85.0, 88.0),
        ("CRITICAL_TEMPERATURE", "CRITICAL", 38.5, 38.0),
        ("CRITICAL_FEVER_SPO2", "CRITICAL", 85.0, 92.0),
    ]
    (seen,) = of_device(kafka.bootstrap, MEASUREMENTS, device)
    assert seen.key == seen.value["patient_id"]
    assert seen.value["patient_id"].startswith("p1_")
    assert seen.value["message_id"] == body["message_id"] == str(UUID(body["message_id"]))
    assert seen.value["measurements"] == CRISIS["measurements"]
    assert len(of_device(kafka.bootstrap, ALERTS, device)) == 3


def test_single_reading_keeps_the_senders_message_id(api: RunningApi, device: str) -> None:
    message_id = str(uuid4())
    assert api.post(reading(device_id=device, message_id=message_id)).json()["message_id"] == message_id


def test_topics_have_three_partitions(api: RunningApi, kafka: KafkaBroker) -> None:
    from kafka import KafkaConsumer

    consumer = KafkaConsumer(bootstrap_servers=kafka.bootstrap)
    numbers = {
        topic: consumer.partitions_for_topic(topic) for topic in (MEASUREMENTS, ALERTS, STATUS, ERRORS)
    }
    consumer.close()
    assert numbers == {topic: {0, 1, 2} for topic in (MEASUREMENTS, ALERTS, STATUS, ERRORS)}


def test_batch_with_invalid_readings_accepts_the_others(
    api: RunningApi, kafka: KafkaBroker, device: str
) -> None:
    good = [reading(device_id=device, seq=number, message_id=str(uuid4())) for number in range(3)]
    bad = reading(device_id=device, measurements={"spo2_pct": "97"})
    answer = api.post({"readings": [good[0], bad, good[1], None, good[2]]})
    assert answer.status_code == 200
    body = answer.json()
    assert (body["accepted"], body["rejected"]) == (3, 2)
    states = [result["status"] for result in body["results"]]
    assert states == ["accepted", "rejected", "accepted", "rejected", "accepted"]
    assert [body["results"][n]["message_id"] for n in (0, 2, 4)] == [r["message_id"] for r in good]
    assert body["results"][1]["field"] == "measurements.spo2_pct"
    assert body["results"][1]["error"].startswith("measurements.spo2_pct: ")
    assert body["results"][0]["error"] is None
    assert [s.value["seq"] for s in of_device(kafka.bootstrap, MEASUREMENTS, device)] == [0, 1, 2]
    (letter,) = of_device(kafka.bootstrap, ERRORS, device)
    assert json.loads(base64.b64decode(letter.value["original"]))["measurements"] == {"spo2_pct": "97"}


def test_batch_with_a_reading_that_is_not_json_accepts_the_others(
    api: RunningApi, kafka: KafkaBroker, device: str
) -> None:
    crisis = json.dumps(reading(CRISIS, device_id=device)).encode()
    invalid = b'{"device_id": "%b", "measurements": {"spo2_pct": NaN}}' % device.encode()
    answer = api.http.post("/iot/measurements", content=b'{"readings": [%b, %b]}' % (invalid, crisis))
    assert answer.status_code == 200
    bad, good = answer.json()["results"]
    assert (bad["status"], good["status"]) == ("rejected", "accepted")
    assert "NaN" in bad["reason"]
    assert good["alerts"]
    assert len(of_device(kafka.bootstrap, ALERTS, device)) == len(good["alerts"])
    kept = [base64.b64decode(sent.value["original"]) for sent in read_topic(kafka.bootstrap, ERRORS)]
    assert invalid in [original.strip() for original in kept]


def test_empty_batch_is_accepted(api: RunningApi) -> None:
    assert api.post({"readings": []}).json() == {"accepted": 0, "rejected": 0, "results": []}


def test_batch_of_too_many_readings_is_refused(api: RunningApi) -> None:
    answer = api.post({"readings": [0] * 10_001})
    assert (answer.status_code, answer.json()["error"]) == (413, "too_large")


def test_readings_of_one_patient_keep_their_order(api: RunningApi, kafka: KafkaBroker, device: str) -> None:
    for start in range(0, 60, 20):
        batch = [reading(device_id=device, patient_id=device, seq=n) for n in range(start, start + 20)]
        assert api.post({"readings": batch}).json()["accepted"] == 20
    seen = of_device(kafka.bootstrap, MEASUREMENTS, device)
    assert [each.value["seq"] for each in seen] == list(range(60))
    assert len({each.partition for each in seen}) == 1


@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
def test_compressed_bodies_are_accepted(
    api: RunningApi, kafka: KafkaBroker, device: str, encoding: str
) -> None:
    compress = gzip.compress if encoding == "gzip" else zstandard.compress
    text = json.dumps({"readings": [reading(device_id=device)] * 300}).encode()
    answer = api.http.post(
        "/iot/measurements", content=compress(text), headers={"Content-Encoding": encoding}
    )
    assert answer.json()["accepted"] == 300


def test_ingest_accepts_the_flat_and_the_nested_form(
    api: RunningApi, kafka: KafkaBroker, device: str
) -> None:
    flat = {"patient_id": "patient-001-ss", "device_id": device, "spo2_pct": 87.9, "temp_corp": 36.8}
    answer = api.post(flat, "/ingest")
    assert [alert["type"] for alert in answer.json()["alerts"]] == ["CRITICAL_SPO2"]
    assert api.post(reading(device_id=device), "/ingest").status_code == 200
    seen = [each.value for each in of_device(kafka.bootstrap, MEASUREMENTS, device)]
    arrived = datetime.fromisoformat(seen[0]["timestamp"])
    assert abs(datetime.now(UTC) - arrived) < timedelta(seconds=30)
    assert seen[0]["measurements"] == {"spo2_pct": 87.9, "temp_corp": 36.8}


def test_measurements_refuses_the_flat_form(api: RunningApi) -> None:
    answer = api.post({"patient_id": "p", "spo2_pct": 97})
    assert answer.status_code == 422


@pytest.mark.parametrize(
    ("body", "field", "reason"),
    [
        (b"", "", "not JSON"),
        (b"{nope", "", "not JSON"),
        (b"\xff\xfe\x00", "", "not UTF-8"),
        (b'{"measurements": {"spo2_pct": NaN}}', "", "NaN"),
        (b'{"measurements": {"spo2_pct": -Infinity}}', "", "Infinity"),
        (b"[" * 100_000, "", "nested too deeply"),
        (b"[]", "", ""),
        (b"null", "", ""),
        (b'{"readings": 5}', "readings", "must be a list"),
        (b"1" * 5000, "", "not JSON"),
    ],
)
def test_malformed_bodies_get_422_and_are_recorded(
    api: RunningApi, kafka: KafkaBroker, body: bytes, field: str, reason: str
) -> None:
    mark = f'{{"device_id": "{uuid4().hex}"}}'.encode() if body else b""
    sent = body + mark if body.startswith(b"{nope") else body
    answer = api.http.post("/iot/measurements", content=sent)
    assert answer.status_code == 422
    assert (answer.json()["error"], answer.json()["field"]) == ("invalid", field)
    assert reason in answer.json()["reason"]
    if mark and sent != body:
        kept = [base64.b64decode(s.value["original"]) for s in read_topic(kafka.bootstrap, ERRORS)]
        assert sent in kept


def test_malformed_body_is_recorded_without_the_patient_identifier(
    api: RunningApi, kafka: KafkaBroker, device: str
) -> None:
    child = f"child-{uuid4().hex}"
    text = f'{{"patient_id": "{child}", "device_id": "{device}", "measurements": {{"spo2_pct"'
    for body, headers in (
        (text.encode(), {}),
        (text.encode("utf-16"), {}),
        (gzip.compress(text.encode())[:-9], {"Content-Encoding": "gzip"}),
    ):
        assert api.http.post("/iot/measurements", content=body, headers=headers).status_code == 422
    kept = [base64.b64decode(s.value["original"]) for s in read_topic(kafka.bootstrap, ERRORS)]
    ours = [original for original in kept if device.encode() in original]
    assert len(ours) >= 2
    assert all(b"p1_" in original for original in ours)
    assert not any(child.encode() in original for original in kept)


def test_zero_is_accepted_as_invalid(api: RunningApi, device: str) -> None:
    answer = api.post(reading(device_id=device, measurements={"spo2_pct": 0, "freq_card": 90})).json()
    assert answer["status"] == "accepted"
    assert [(a["type"], a["severity"]) for a in answer["alerts"]] == [("SENSOR_OFF", "TECHNICAL")]


def test_future_timestamp_is_quarantined(api: RunningApi, kafka: KafkaBroker, device: str) -> None:
    ahead = (datetime.now(UTC) + timedelta(minutes=6)).isoformat()
    answer = api.post(reading(CRISIS, device_id=device, timestamp=ahead))
    assert answer.status_code == 422
    assert answer.json()["field"] == "timestamp"
    assert answer.json()["alerts"][-1]["type"] == "CLOCK_SKEW"
    assert of_device(kafka.bootstrap, MEASUREMENTS, device) == []
    assert len(of_device(kafka.bootstrap, ALERTS, device)) == 4
    assert len(of_device(kafka.bootstrap, ERRORS, device)) == 1


def test_body_above_the_limit_is_refused(api: RunningApi) -> None:
    answer = api.http.post("/iot/measurements", content=b" " * (8 * 2**20 + 1))
    assert (answer.status_code, answer.json()["error"]) == (413, "too_large")


def test_body_of_unknown_length_above_the_limit_is_refused(api: RunningApi) -> None:
    def endless() -> Iterator[bytes]:
        for _ in range(9):
            yield b" " * 2**20

    answer = api.http.post("/iot/measurements", content=endless())
    assert answer.status_code == 413


@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
def test_decompression_bomb_is_refused(api: RunningApi, encoding: str) -> None:
    compress = gzip.compress if encoding == "gzip" else zstandard.compress
    bomb = compress(b" " * (32 * 2**20 + 1))
    answer = api.http.post("/iot/measurements", content=bomb, headers={"Content-Encoding": encoding})
    assert answer.status_code == 413
    assert "33554432" in answer.json()["reason"]


def test_refusals_share_one_form(api: RunningApi) -> None:
    wrong = api.http.post("/iot/measurements", content=b"{}", headers={"Content-Encoding": "br"})
    for answer, status in (
        (wrong, 415),
        (api.http.get("/nowhere"), 404),
        (api.http.get("/iot/measurements"), 405),
    ):
        assert answer.status_code == status
        assert set(answer.json()) == {"error", "field", "reason"}


def test_gateway_errors_keep_their_error_id(api: RunningApi, kafka: KafkaBroker, device: str) -> None:
    child = f"child-{uuid4().hex}"
    original = f'{{"patient_id": "{child}", "spo2'.encode()
    error: dict[str, Any] = {
        "error_id": str(uuid4()),
        "timestamp": "2025-08-24T10:30:00Z",
        "source": "gateway",
        "gateway_id": "gw-1",
        "device_id": device,
        "reason": "not JSON",
        "field": "",
        "original": base64.b64encode(original).decode(),
    }
    answer = api.post({"errors": [error, {**error, "error_id": "none"}]}, "/iot/errors")
    assert answer.json() == {"accepted": 1, "rejected": 1}
    seen = of_device(kafka.bootstrap, ERRORS, device)
    assert len(seen) == 2
    kept = next(each.value for each in seen if each.value["error_id"] == error["error_id"])
    assert (kept["source"], kept["gateway_id"], kept["reason"]) == ("gateway", "gw-1", "not JSON")
    for each in seen:
        assert b"p1_" in base64.b64decode(each.value["original"])
        assert child.encode() not in base64.b64decode(each.value["original"])


def test_gateway_errors_that_are_not_a_list_are_refused(api: RunningApi) -> None:
    answer = api.post({"errors": {}}, "/iot/errors")
    assert (answer.status_code, answer.json()["field"]) == (422, "errors")


def test_device_status_is_published_once_and_at_each_change(
    api: RunningApi, kafka: KafkaBroker, device: str
) -> None:
    for battery in (80, 80, 79):
        api.post(reading(device_id=device, signal={"battery_pct": battery, "contact": True}))
    seen = of_device(kafka.bootstrap, STATUS, device)
    assert [each.value["battery_pct"] for each in seen] == [80, 79]
