"""The records made of one document."""

import base64
import json
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from cloud_ingest.access.permissions import ANYONE, FOREIGN_PATIENT
from cloud_ingest.errors import NotAllowed
from cloud_ingest.ingest.device_status import DeviceStatusGate
from cloud_ingest.ingest.processor import ProcessedReading, ReadingProcessor, unflatten
from cloud_ingest.kafka.dead_letter import ReportedError, of_gateway
from tests.cloud_ingest.samples import CRISIS, NORMAL, reading
from vitals.errors import InvalidReading
from vitals.pseudonym import Pseudonymiser

ERRORS = "kidjamo-iot-errors"
RECEIVED = datetime(2025, 8, 24, 10, 30, 1, tzinfo=UTC)
NEW_ID = UUID("11111111-2222-4333-8444-555555555555")
PSEUDONYM = "p1_b8351f60d5bad4bcd6f053c32d6ad094"


@pytest.fixture
def processor() -> ReadingProcessor:
    return ReadingProcessor(Pseudonymiser({1: bytes(range(32))}), DeviceStatusGate(), lambda: NEW_ID)


def documents(processed: ProcessedReading, topic: str) -> list[dict[str, Any]]:
    return [json.loads(record.value) for record in processed.records if record.topic == topic]


def test_process_golden_measurement(processor: ReadingProcessor) -> None:
    processed = processor.process(reading(), RECEIVED)
    (record,) = processed.records
    assert record.topic == "kidjamo-iot-measurements"
    assert record.key == PSEUDONYM.encode()
    assert json.loads(record.value) == {
        "patient_id": PSEUDONYM,
        "device_id": "bracelet-001",
        "timestamp": "2025-08-24T10:30:00.123456Z",
        "measurements": {"freq_card": 92.0, "freq_resp": 18.0, "spo2_pct": 97.0, "temp_corp": 36.8},
        "message_id": "11111111-2222-4333-8444-555555555555",
        "ingestion_timestamp": "2025-08-24T10:30:01Z",
        "api_version": "1.0.0",
        "invalid_fields": [],
        "quality_score": 100.0,
    }
    assert (processed.alerts, processed.error, processed.valid) == ((), None, True)


def test_process_golden_alerts_of_a_crisis(processor: ReadingProcessor) -> None:
    message_id = "7d3c6f4e-33c7-5b0e-9d2b-64f2f6a9c001"
    processed = processor.process(reading(CRISIS, message_id=message_id, gateway_id="gw-1"), RECEIVED)
    alerts = documents(processed, "kidjamo-iot-alerts")
    assert [alert["type"] for alert in alerts] == [
        "CRITICAL_SPO2",
        "CRITICAL_TEMPERATURE",
        "CRITICAL_FEVER_SPO2",
    ]
    assert alerts[0] == {
        "alert_id": "8d799008-c431-5584-b1d5-0333398b89d7",
        "message_id": message_id,
        "patient_id": PSEUDONYM,
        "device_id": "bracelet-001",
        "gateway_id": "gw-1",
        "timestamp": "2025-08-24T10:30:00.123456Z",
        "ingestion_timestamp": "2025-08-24T10:30:01Z",
        "type": "CRITICAL_SPO2",
        "severity": "CRITICAL",
        "value": 85.0,
        "threshold": 88.0,
        "message": "SpO2 85 % is below 88 %",
        "message_fr": "SpO2 à 85 %, sous 88 %",
    }
    assert str(processed.message_id) == message_id


def test_process_the_same_reading_twice_gives_the_same_identities(processor: ReadingProcessor) -> None:
    sent = reading(CRISIS, message_id="7d3c6f4e-33c7-5b0e-9d2b-64f2f6a9c001", signal={"battery_pct": 9})
    assert processor.process(sent, RECEIVED).records == processor.process(sent, RECEIVED).records


def test_process_golden_device_status(processor: ReadingProcessor) -> None:
    signal = {"contact": True, "battery_pct": 80, "site": "wrist"}
    processed = processor.process(reading(signal=signal, gateway_id="gw-1"), RECEIVED)
    assert documents(processed, "kidjamo-iot-device-status") == [
        {
            "status_id": "3f193b20-47d8-5eae-8fb0-abab575c7b53",
            "message_id": "11111111-2222-4333-8444-555555555555",
            "device_id": "bracelet-001",
            "patient_id": PSEUDONYM,
            "gateway_id": "gw-1",
            "timestamp": "2025-08-24T10:30:00.123456Z",
            "ingestion_timestamp": "2025-08-24T10:30:01Z",
            "contact": True,
            "motion": None,
            "low_perfusion": None,
            "battery_pct": 80,
            "site": "wrist",
        }
    ]


def test_process_zero_is_invalid_not_critical(processor: ReadingProcessor) -> None:
    processed = processor.process(reading(measurements={"spo2_pct": 0, "freq_card": 92}), RECEIVED)
    (measurement,) = documents(processed, "kidjamo-iot-measurements")
    assert measurement["invalid_fields"] == ["spo2_pct"]
    assert measurement["measurements"]["spo2_pct"] == 0
    assert [(a.type.value, a.severity.value) for a in processed.alerts] == [("SENSOR_OFF", "TECHNICAL")]
    assert (processed.valid, processed.quality) == (False, 25.0)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"patient_id": None}, "patient_id"),
        ({"patient_id": "\ud800"}, "patient_id"),
        ({"device_id": ""}, "device_id"),
        ({"timestamp": 1724495400}, "timestamp"),
        ({"timestamp": "yesterday"}, "timestamp"),
        ({"timestamp": "0001-01-01T00:00:00+14:00"}, "timestamp"),
        ({"measurements": {}}, "measurements"),
        ({"measurements": {"spo2_pct": None}}, "measurements"),
        ({"measurements": {"spo2_pct": "97"}}, "measurements.spo2_pct"),
        ({"measurements": {"spo2_pct": True}}, "measurements.spo2_pct"),
        ({"measurements": {"spo2_pct": float("inf")}}, "measurements.spo2_pct"),
        ({"measurements": {"spo2_pct": 10**400}}, "measurements.spo2_pct"),
        ({"measurements": [97]}, "measurements"),
        ({"message_id": "42"}, "message_id"),
        ({"seq": -1}, "seq"),
        ({"signal": {"battery_pct": 101}}, "signal.battery_pct"),
    ],
)
def test_process_refuses_an_invalid_reading_with_the_field(
    processor: ReadingProcessor, changes: dict[str, Any], field: str
) -> None:
    processed = processor.process(reading(**changes), RECEIVED)
    assert processed.error is not None
    assert processed.error.field == field
    assert [record.topic for record in processed.records] == ["kidjamo-iot-errors"]


@pytest.mark.parametrize("document", [None, 5, "text", [], [reading()]])
def test_process_refuses_a_document_that_is_not_an_object(
    processor: ReadingProcessor, document: object
) -> None:
    assert processor.process(document, RECEIVED).error is not None


def test_dead_letter_keeps_the_bytes_without_the_patient_identifier(processor: ReadingProcessor) -> None:
    original = b'{"patient_id" : "patient-001-ss", "device_id": "d9", "measurements": {"spo2_pct": NaN} }'
    (letter,) = documents(processor.process({"device_id": "d9"}, RECEIVED, original), "kidjamo-iot-errors")
    kept = base64.b64decode(letter["original"])
    assert kept == original.replace(b"patient-001-ss", PSEUDONYM.encode())
    assert (letter["source"], letter["code"], letter["device_id"]) == ("api", "invalid", "d9")


def test_dead_letter_replaces_patient_identifiers_inside_base64(processor: ReadingProcessor) -> None:
    inner = base64.b64encode(b'{"patient_id": "patient-001-ss", "spo2')
    body = b'{"errors": {"original": "' + inner
    (letter,) = documents(processor.refuse(InvalidReading("", "x"), RECEIVED, body, ANYONE), ERRORS)
    kept = base64.b64decode(letter["original"])
    assert b"patient-001-ss" not in base64.b64decode(kept.split(b'"')[5] + b"==")


def test_reason_of_a_gateway_is_scrubbed_and_that_of_the_api_is_not(processor: ReadingProcessor) -> None:
    foreign = NotAllowed("patient_id", FOREIGN_PATIENT, None)
    (letter,) = documents(processor.refuse(foreign, RECEIVED, b"{}", ANYONE), ERRORS)
    assert (letter["reason"], letter["code"]) == (FOREIGN_PATIENT, "forbidden")
    reported = ReportedError(
        error_id=NEW_ID,
        timestamp=RECEIVED,
        reason="patient_id: patient-001-ss\x1b[2J",
        field="patient_id",
        original="",
    )
    letter = json.loads(of_gateway(reported, processor.pseudonyms, "gw-1").value)
    assert letter["field"] == "patient_id"
    assert letter["reason"].startswith('patient_id: "p1_')
    assert letter["reason"].isprintable()
    assert "code" not in letter


def test_original_above_600_kib_is_truncated_before_it_is_scrubbed(processor: ReadingProcessor) -> None:
    huge = b'{"patient_id": "' + b"a" * 2**24
    (letter,) = documents(processor.refuse(InvalidReading("", "x"), RECEIVED, huge, ANYONE), ERRORS)
    assert letter["original_size"] == len(huge)
    assert len(base64.b64decode(letter["original"])) < 100


def test_process_ignores_unknown_fields(processor: ReadingProcessor) -> None:
    processed = processor.process(
        reading(display_name="Awa", measurements={"spo2_pct": 97, "mood": 3}), RECEIVED
    )
    assert processed.error is None
    assert b"Awa" not in processed.records[0].value


def test_process_accepts_a_timestamp_five_minutes_ahead(processor: ReadingProcessor) -> None:
    assert processor.process(reading(timestamp="2025-08-24T10:35:01Z"), RECEIVED).error is None


def test_process_quarantines_a_timestamp_more_than_five_minutes_ahead(processor: ReadingProcessor) -> None:
    processed = processor.process(reading(CRISIS, timestamp="2025-08-24T10:35:01.001Z"), RECEIVED)
    assert processed.error is not None
    assert processed.error.field == "timestamp"
    assert documents(processed, "kidjamo-iot-measurements") == []
    assert len(documents(processed, "kidjamo-iot-errors")) == 1
    assert [alert["type"] for alert in documents(processed, "kidjamo-iot-alerts")] == [
        "CRITICAL_SPO2",
        "CRITICAL_TEMPERATURE",
        "CRITICAL_FEVER_SPO2",
        "CLOCK_SKEW",
    ]


def test_records_never_contain_the_patient_identifier(processor: ReadingProcessor) -> None:
    for sent in (
        reading(CRISIS, signal={"battery_pct": 3}),
        reading(seq="x"),
        reading(timestamp="2999-01-01"),
    ):
        for record in processor.process(sent, RECEIVED).records:
            assert b"patient-001-ss" not in record.value
            assert b"patient-001-ss" not in (record.key or b"")


def test_unflatten_adds_time_and_device() -> None:
    assert unflatten({"patient_id": "p", "spo2_pct": 97, "freq_card": None}, RECEIVED) == {
        "patient_id": "p",
        "device_id": "unknown",
        "timestamp": "2025-08-24T10:30:01Z",
        "measurements": {"spo2_pct": 97, "freq_card": None},
    }


def test_unflatten_returns_the_nested_form_unchanged() -> None:
    assert unflatten(NORMAL, RECEIVED) == NORMAL
    assert unflatten([1], RECEIVED) == [1]
