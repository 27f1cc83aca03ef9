"""Sections 2 and 3 of the contract, over HTTP and Kafka."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from deploy.local.kafka import KafkaBroker
from tests.cloud_ingest.running import RunningApi, environment
from tests.cloud_ingest.topic_reader import of_device
from tests.waiting import wait_until

MEASUREMENTS, ALERTS, ERRORS = "kidjamo-iot-measurements", "kidjamo-iot-alerts", "kidjamo-iot-errors"


@pytest.fixture(scope="module")
def api(kafka: KafkaBroker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningApi]:
    with RunningApi(environment(tmp_path_factory.mktemp("api"), kafka.bootstrap)) as running:
        assert wait_until(lambda: running.post(a_reading("warm-up")).json()["stored"] == ["kafka"])
        yield running


@pytest.fixture
def device() -> str:
    return f"bracelet-{uuid4().hex[:12]}"


def a_reading(device: str, **changes: Any) -> dict[str, Any]:
    return {
        "patient_id": "patient-001-ss",
        "device_id": device,
        "timestamp": "2025-08-24T10:30:00.123456Z",
        "measurements": {"freq_card": 92, "freq_resp": 18, "spo2_pct": 97.0, "temp_corp": 36.8},
        **changes,
    }


def test_kafka_value_is_the_reading_with_the_fields_of_the_api(
    api: RunningApi, kafka: KafkaBroker, device: str
) -> None:
    sent = a_reading(
        device,
        message_id="7d3c6f4e-33c7-5b0e-9d2b-64f2f6a9c001",
        seq=7,
        gateway_id="gw-é",
        source="mqtt",
        late=True,
        signal={"contact": True, "motion": False, "low_perfusion": False, "battery_pct": 80, "site": "wrist"},
        unknown_field={"kept": "no"},
    )
    before = datetime.now(UTC)
    assert api.post(sent).status_code == 200
    (seen,) = of_device(kafka.bootstrap, MEASUREMENTS, device)
    value = seen.value
    assert seen.key == value["patient_id"]
    for field in ("device_id", "timestamp", "message_id", "seq", "gateway_id", "source", "late", "signal"):
        assert value[field] == sent[field]
    assert value["measurements"] == sent["measurements"]
    assert value["api_version"] == "1.0.0"
    arrived = datetime.fromisoformat(value["ingestion_timestamp"])
    assert arrived.utcoffset() == timedelta(0)
    assert before <= arrived <= datetime.now(UTC)
    assert "unknown_field" not in value


def test_message_id_is_generated_where_it_is_missing(
    api: RunningApi, kafka: KafkaBroker, device: str
) -> None:
    answered = api.post(a_reading(device)).json()["message_id"]
    (seen,) = of_device(kafka.bootstrap, MEASUREMENTS, device)
    assert seen.value["message_id"] == answered == str(UUID(answered))


@pytest.mark.parametrize(
    ("sent", "published"),
    [
        ("2025-08-24T10:30:00", "2025-08-24T10:30:00Z"),
        ("2025-08-24T12:30:00+02:00", "2025-08-24T10:30:00Z"),
        ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00Z"),
        ("1900-01-01T00:00:00Z", "1900-01-01T00:00:00Z"),
    ],
)
def test_timestamps_are_utc_and_may_be_old(
    api: RunningApi, kafka: KafkaBroker, device: str, sent: str, published: str
) -> None:
    assert api.post(a_reading(device, timestamp=sent)).status_code == 200
    (seen,) = of_device(kafka.bootstrap, MEASUREMENTS, device)
    assert seen.value["timestamp"] == published


@pytest.mark.parametrize(("ahead_s", "status", "on"), [(280, 200, MEASUREMENTS), (320, 422, ERRORS)])
def test_five_minutes_ahead_is_the_limit(
    api: RunningApi, kafka: KafkaBroker, device: str, ahead_s: int, status: int, on: str
) -> None:
    at = (datetime.now(UTC) + timedelta(seconds=ahead_s)).isoformat()
    assert api.post(a_reading(device, timestamp=at)).status_code == status
    assert len(of_device(kafka.bootstrap, on, device)) == 1
    assert len(of_device(kafka.bootstrap, MEASUREMENTS, device)) == int(status == 200)


def test_a_batch_of_a_thousand_with_one_bad_reading(api: RunningApi, kafka: KafkaBroker, device: str) -> None:
    ids = [str(uuid4()) for _ in range(1000)]
    readings = [a_reading(device, message_id=each, seq=number) for number, each in enumerate(ids)]
    readings[500]["measurements"] = {"spo2_pct": "97"}
    answer = api.post({"readings": readings})
    body = answer.json()
    assert (answer.status_code, body["accepted"], body["rejected"]) == (200, 999, 1)
    assert [result["message_id"] for result in body["results"]] == ids
    assert [n for n, result in enumerate(body["results"]) if result["status"] == "rejected"] == [500]
    assert "measurements.spo2_pct" in body["results"][500]["error"]
    assert all(result["error"] is None for n, result in enumerate(body["results"]) if n != 500)
    seen = [each.value["seq"] for each in of_device(kafka.bootstrap, MEASUREMENTS, device)]
    assert seen == [number for number in range(1000) if number != 500]
    assert len(of_device(kafka.bootstrap, ERRORS, device)) == 1


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"spo2_pct": "97"}, "spo2_pct"),
        ({"freq_card": True}, "freq_card"),
        ({"spo2_pct": None}, ""),
        ({"timestamp": "yesterday"}, "timestamp"),
        ({"patient_id": ""}, "patient_id"),
    ],
)
def test_error_of_the_flat_form_names_the_field_as_sent(
    api: RunningApi, device: str, changes: dict[str, Any], field: str
) -> None:
    flat: dict[str, Any] = {"patient_id": "patient-001-ss", "device_id": device, "spo2_pct": 97}
    answer = api.post({**flat, **changes}, "/ingest")
    assert (answer.status_code, answer.json()["field"]) == (422, field)
    assert answer.json()["reason"]


def test_error_of_the_nested_form_names_the_path(api: RunningApi, device: str) -> None:
    for route in ("/ingest", "/iot/measurements"):
        answer = api.post(a_reading(device, measurements={"spo2_pct": [97]}), route)
        assert (answer.status_code, answer.json()["field"]) == (422, "measurements.spo2_pct")


def test_same_message_id_with_other_contents_raises_its_alerts(
    api: RunningApi, kafka: KafkaBroker, device: str
) -> None:
    message_id = str(uuid4())
    first = api.post(a_reading(device, message_id=message_id))
    second = api.post(a_reading(device, message_id=message_id, measurements={"spo2_pct": 80}))
    assert [first.json()["message_id"], second.json()["message_id"]] == [message_id, message_id]
    assert [alert["type"] for alert in second.json()["alerts"]] == ["CRITICAL_SPO2"]
    (alert,) = of_device(kafka.bootstrap, ALERTS, device)
    assert alert.value["message_id"] == message_id


def test_metrics_are_json_unless_text_is_preferred(api: RunningApi) -> None:
    for accept, kind in (
        ("", "application/json"),
        ("*/*", "application/json"),
        ("application/json;q=0.4, text/plain;q=0.5", "text/plain"),
        ("application/json;q=0.5, text/plain;q=0.4", "application/json"),
        ("application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1", "text/plain"),
    ):
        answer = api.http.get("/metrics", headers={"Accept": accept})
        assert answer.headers["content-type"].startswith(kind), accept


def test_metrics_count_what_was_sent(api: RunningApi, device: str) -> None:
    before = api.http.get("/metrics").json()
    off = {"spo2_pct": 0, "freq_card": 90}
    api.post({"readings": [a_reading(device), a_reading(device, measurements=off)]}).raise_for_status()
    after = api.http.get("/metrics").json()
    valid = [seen["valid_pct"] * seen["processed_messages"] / 100 for seen in (before, after)]
    assert after["processed_messages"] - before["processed_messages"] == 2
    assert valid[1] - valid[0] == pytest.approx(1, abs=0.2)
    assert 0 < after["latency_p50_s"] <= after["latency_p95_s"] <= after["latency_p99_s"] < 5
    window = min(max(after["api_uptime_s"], 1), 60)
    assert after["throughput_eps"] == pytest.approx(after["processed_messages"] / window, rel=0.1)
    sensor_off = [seen["alerts_by_type"].get("SENSOR_OFF", 0) for seen in (before, after)]
    assert sensor_off[1] - sensor_off[0] == 1
    topics = [seen["kafka_topics"] for seen in (before, after)]
    assert topics[1][MEASUREMENTS] - topics[0][MEASUREMENTS] == 2
    assert topics[1][ALERTS] - topics[0][ALERTS] == 1


@pytest.mark.parametrize(
    ("measurements", "signal", "quality", "valid"),
    [
        ({"spo2_pct": 97, "freq_card": 90, "freq_resp": 18, "temp_corp": 36.8}, {}, "100.0", "1"),
        ({"spo2_pct": 97, "freq_card": 90}, {}, "50.0", "1"),
        ({"spo2_pct": 0, "freq_card": 90}, {}, "25.0", "0"),
        (
            {"spo2_pct": 97, "freq_card": 90, "freq_resp": 18, "temp_corp": 36.8},
            {"motion": True},
            "80.0",
            "1",
        ),
        (
            {"spo2_pct": 97, "freq_card": 90, "freq_resp": 18, "temp_corp": 36.8},
            {"low_perfusion": True, "contact": False},
            "40.0",
            "1",
        ),
    ],
)
def test_csv_row_of_a_reading(
    api: RunningApi,
    device: str,
    measurements: dict[str, float],
    signal: dict[str, bool],
    quality: str,
    valid: str,
) -> None:
    api.post(a_reading(device, measurements=measurements, signal=signal)).raise_for_status()

    def rows() -> list[dict[str, str]]:
        with api.settings.metrics_csv.open(newline="") as file:
            return [row for row in csv.DictReader(file) if row["device_id"] == device]

    assert wait_until(lambda: len(rows()) == 1)
    (row,) = rows()
    assert list(row) == [
        "timestamp", "latency_s", "alerts_count", "alert_types", "quality_score", "valid_flag", "device_id",
    ]  # fmt: skip
    assert (row["quality_score"], row["valid_flag"]) == (quality, valid)


def test_malformed_reading_gets_422_and_is_recorded_completely(
    api: RunningApi, kafka: KafkaBroker, device: str
) -> None:
    body = json.dumps(a_reading(device, measurements={"spo2_pct": float("nan")}))
    answer = api.http.post("/iot/measurements", content=body)
    assert answer.status_code == 422
    assert "NaN" in answer.json()["reason"]


def test_health_is_fast_and_lists_its_components(api: RunningApi) -> None:
    answer = api.http.get("/health")
    assert answer.elapsed < timedelta(seconds=1)
    assert answer.json()["components"].keys() >= {"kafka", "database", "spool"}
    assert answer.json()["api_version"] == "1.0.0"
