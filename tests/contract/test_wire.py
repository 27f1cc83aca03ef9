"""Section 2: one reading on the wire, and the names of the topics."""

import json
from typing import Any

import pytest

from tests.contract.documents import GOLDEN, reading
from vitals import topics
from vitals.errors import InvalidReading
from vitals.reading import parse_json, parse_reading

MESSAGE_ID = "8f14e45f-ceea-467f-a9b8-2d1c3b4a5e6f"


def test_golden_reading_passes_unchanged() -> None:
    assert parse_reading(parse_json(GOLDEN)).to_wire() == {
        "patient_id": "patient-001-ss",
        "device_id": "6f0c",
        "timestamp": "2025-08-24T10:30:00.123456Z",
        "measurements": {"freq_card": 120, "freq_resp": 18, "spo2_pct": 85.0, "temp_corp": 38.5},
    }


def test_golden_reading_as_text() -> None:
    assert json.dumps(parse_reading(parse_json(GOLDEN)).to_wire()) == (
        '{"patient_id": "patient-001-ss", "device_id": "6f0c", "timestamp": "2025-08-24T10:30:00.123456Z", '
        '"measurements": {"spo2_pct": 85.0, "freq_card": 120.0, "freq_resp": 18.0, "temp_corp": 38.5}}'
    )


@pytest.mark.parametrize("source", ["ble", "mqtt", "api"])
def test_optional_fields_pass_unchanged(source: str) -> None:
    whole = parse_json(GOLDEN) | {
        "message_id": MESSAGE_ID,
        "seq": 7,
        "gateway_id": "gw-1",
        "source": source,
        "late": True,
        "signal": {
            "contact": True,
            "motion": True,
            "low_perfusion": False,
            "battery_pct": 64,
            "site": "wrist",
        },
    }
    assert parse_reading(whole).to_wire() == whole


def test_fields_added_by_the_api_are_ignored() -> None:
    added = {"ingestion_timestamp": "2025-08-24T10:30:01Z", "api_version": "1.0.0", "message_id": MESSAGE_ID}
    seen = parse_reading(parse_json(GOLDEN) | added)
    assert str(seen.message_id) == MESSAGE_ID


def test_timestamp_without_a_zone_is_utc() -> None:
    seen = parse_reading(parse_json(GOLDEN) | {"timestamp": "2025-08-24T10:30:00.123456"})
    assert seen.to_wire()["timestamp"] == "2025-08-24T10:30:00.123456Z"


@pytest.mark.parametrize("field", ["spo2_pct", "freq_card", "freq_resp", "temp_corp"])
def test_value_may_be_null_or_missing(field: str) -> None:
    document = parse_json(GOLDEN)
    document["measurements"][field] = None
    assert field not in parse_reading(document).to_wire()["measurements"]
    assert reading({field: 40}).to_wire()["measurements"] == {field: 40}


@pytest.mark.parametrize("measurements", [{}, {"spo2_pct": None, "freq_card": None}])
def test_reading_needs_one_value(measurements: dict[str, Any]) -> None:
    with pytest.raises(InvalidReading, match="at least one of") as refused:
        parse_reading(parse_json(GOLDEN) | {"measurements": measurements})
    assert refused.value.field == "measurements"


@pytest.mark.parametrize("written", ["NaN", "Infinity", "-Infinity"])
def test_nan_and_infinities_are_refused(written: str) -> None:
    with pytest.raises(InvalidReading, match="not JSON"):
        parse_json(GOLDEN.replace(b"85.0", written.encode()))
    with pytest.raises(InvalidReading, match=r"measurements\.spo2_pct: Input should be a finite number"):
        reading({"spo2_pct": float(written)})


@pytest.mark.parametrize("written", [b"true", b"false", b'"85.0"', b"[85.0]", b"{}"])
def test_value_that_is_not_a_number_is_refused(written: bytes) -> None:
    document = parse_json(GOLDEN.replace(b"85.0", written))
    with pytest.raises(InvalidReading, match=r"measurements\.spo2_pct: Input should be a valid number"):
        parse_reading(document)


def test_kafka_topics() -> None:
    assert topics.KAFKA_TOPICS == (
        "kidjamo-iot-measurements",
        "kidjamo-iot-alerts",
        "kidjamo-iot-device-status",
        "kidjamo-iot-errors",
    )
    assert topics.MEASUREMENTS == "kidjamo-iot-measurements"
    assert topics.ALERTS == "kidjamo-iot-alerts"
    assert topics.DEVICE_STATUS == "kidjamo-iot-device-status"
    assert topics.ERRORS == "kidjamo-iot-errors"


def test_mqtt_topics() -> None:
    assert topics.measurements_of("demo-1") == "kidjamo/bracelets/demo-1/measurements"
    assert topics.status_of("demo-1") == "kidjamo/bracelets/demo-1/status"
    assert topics.gateway_state("gw-1") == "kidjamo/gateways/gw-1/state"
    assert topics.patient_alarms("patient-001-ss") == "kidjamo/patients/patient-001-ss/alarms"
