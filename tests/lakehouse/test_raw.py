"""Kafka's values: valid ones keep every field, invalid ones keep their bytes."""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from uuid import UUID, uuid5

from lakehouse import raw
from tests.lakehouse.conftest import ParseMessages, utc
from tests.lakehouse.samples import PATIENT, alert, encode, message_id, reading, status
from vitals import topics
from vitals.reading import NAMESPACE


def test_measurements_keep_every_field(parse_messages: ParseMessages) -> None:
    sent = reading(
        7,
        late=True,
        device_time="2025-08-24T12:29:58.5+02:00",
        measurements={"spo2_pct": 0, "temp_corp": None},
        invalid_fields=["spo2_pct"],
        quality_score=50.0,
        signal={"contact": False, "motion": True, "low_perfusion": True, "battery_pct": 7, "site": "wrist"},
    )
    (row,) = raw.measurements(parse_messages(topics.MEASUREMENTS, sent)).collect()
    expected = {
        "message_id": message_id(7),
        "patient_id": PATIENT,
        "device_id": "bracelet-001",
        "gateway_id": "gw-1",
        "source": "ble",
        "seq": 7,
        "boot": 1,
        "late": True,
        "api_version": "1.0.0",
        "spo2_pct": 0.0,
        "freq_card": 92.0,
        "freq_resp": 18.0,
        "temp_corp": None,
        "invalid_fields": ["spo2_pct"],
        "quality_score": 50.0,
        "contact": False,
        "motion": True,
        "low_perfusion": True,
        "battery_pct": 7,
        "site": "wrist",
        "kafka_topic": "kidjamo-iot-measurements",
        "kafka_partition": 0,
        "kafka_offset": 0,
    }
    times = {"timestamp", "ingestion_timestamp", "device_time"}
    assert {name: row[name] for name in row.asDict() if name not in times} == expected
    assert utc(row, "timestamp") == datetime(2025, 8, 24, 10, 30, tzinfo=UTC)
    assert utc(row, "ingestion_timestamp") == datetime(2025, 8, 24, 10, 30, 1, tzinfo=UTC)
    assert utc(row, "device_time") == datetime(2025, 8, 24, 10, 29, 58, 500_000, tzinfo=UTC)


def test_measurements_without_optional_fields_or_zone(parse_messages: ParseMessages) -> None:
    bare = {
        "patient_id": PATIENT,
        "device_id": "d",
        "message_id": message_id(1),
        "timestamp": "2025-08-24T10:30:00.123456",
        "measurements": {"freq_card": 120},
    }
    (row,) = raw.measurements(parse_messages(topics.MEASUREMENTS, bare)).collect()
    assert utc(row, "timestamp") == datetime(2025, 8, 24, 10, 30, 0, 123456, tzinfo=UTC)
    assert (row["freq_card"], row["spo2_pct"], row["contact"], row["late"]) == (120.0, None, None, None)


FAULTY: list[tuple[object, str]] = [
    (b"not json", "not the JSON document this topic carries"),
    (b"[1]", "not the JSON document this topic carries"),
    (b"", "not the JSON document this topic carries"),
    (b'{"patient_id": "\xff"}', "not UTF-8"),
    (None, "no value"),
    ({}, "message_id is missing"),
    (reading(1, message_id=None), "message_id is missing"),
    (reading(1, device_id=None), "device_id is missing"),
    (reading(1) | {"measurements": {}}, "measurements has no value"),
    (reading(1) | {"measurements": {"spo2_pct": "97"}}, "not the JSON document this topic carries"),
    (reading(1) | {"measurements": {"spo2_pct": "NaN"}}, "not the JSON document this topic carries"),
    (reading(1, seq="one"), "not the JSON document this topic carries"),
    (reading(1, timestamp=1756031400), "timestamp is not an ISO 8601"),
    (reading(1, timestamp="10:30"), "timestamp is not an ISO 8601"),
    (reading(1, timestamp="2025-02-30T10:30:00Z"), "timestamp is not an ISO 8601"),
    (reading(1, timestamp="12025-02-03T10:30:00Z"), "timestamp is not an ISO 8601"),
    (reading(1, device_time="soon"), "device_time is not an ISO 8601"),
]


def test_errors_have_the_bytes_of_unreadable_messages(parse_messages: ParseMessages) -> None:
    messages = parse_messages(topics.MEASUREMENTS, *(value for value, _ in FAULTY)).persist()
    assert raw.measurements(messages).count() == 0
    rows = raw.errors(messages).orderBy("kafka_offset").collect()
    for offset, (row, (value, fault)) in enumerate(zip(rows, FAULTY, strict=True)):
        position = f"kidjamo-iot-measurements/0/{offset}"
        assert row["reason"].startswith(f"{position}: {fault}")
        assert UUID(row["error_id"]) == uuid5(NAMESPACE, position)
        assert row["source"] == "lake"
        assert row["original"] == (value if value is None or isinstance(value, bytes) else encode(value))


def test_errors_decode_dead_letters(parse_messages: ParseMessages) -> None:
    letter = {
        "error_id": message_id(9),
        "timestamp": "2025-08-24T10:30:00Z",
        "source": "api",
        "reason": "must be a number",
        "field": "measurements.spo2_pct",
        "original": base64.b64encode(b'{"spo2_pct": \xff').decode(),
        "device_id": "d",
    }
    messages = parse_messages(topics.ERRORS, letter, letter | {"original": "not base64!"}, b"junk")
    rows = raw.errors(messages).orderBy("kafka_offset").collect()
    assert [row["original"] for row in rows] == [b'{"spo2_pct": \xff', b"not base64!", b"junk"]
    assert (rows[0]["source"], rows[0]["reason"], rows[0]["field"]) == (
        "api",
        "must be a number",
        "measurements.spo2_pct",
    )
    assert rows[2]["source"] == "lake"


def test_alerts_and_device_status_keep_their_fields(parse_messages: ParseMessages) -> None:
    (one,) = raw.alerts(parse_messages(topics.ALERTS, alert(1, gateway_id="gw-1"))).collect()
    assert (one["type"], one["severity"], one["value"], one["threshold"]) == (
        "CRITICAL_SPO2",
        "CRITICAL",
        85.0,
        88.0,
    )
    assert (one["gateway_id"], one["message_fr"]) == ("gw-1", "SpO2 à 85 %, sous 88 %")
    (state,) = raw.device_status(parse_messages(topics.DEVICE_STATUS, status(1))).collect()
    assert (state["battery_pct"], state["contact"], state["motion"]) == (80, True, None)


def test_heartbeat_becomes_a_device_status(parse_messages: ParseMessages) -> None:
    beat = {
        "kind": "heartbeat",
        "status_id": message_id(3),
        "message_id": message_id(3),
        "device_id": "gw-1",
        "gateway_id": "gw-1",
        "timestamp": "2025-08-24T10:30:00Z",
        "ingestion_timestamp": "2025-08-24T10:30:01Z",
        "parts": {"api": "up"},
        "outbox_pending": 0,
        "contacts_reachable": True,
        "watches": [PATIENT],
        "episodes": [{"patient_id": PATIENT, "group": "SPO2", "phase": "ACTIVE"}],
    }
    messages = parse_messages(topics.DEVICE_STATUS, beat).persist()
    assert raw.errors(messages).count() == 0
    (row,) = raw.device_status(messages).collect()
    assert (row["device_id"], row["patient_id"], row["battery_pct"]) == ("gw-1", None, None)


def test_summary_counts_readable_and_critical_messages(parse_messages: ParseMessages) -> None:
    values = [alert(1), alert(2, severity="TECHNICAL"), alert(3), b"junk"]
    rows = raw.summary(parse_messages(topics.ALERTS, *values)).collect()
    morning = 1_756_031_400_000_000
    assert {(row["readable"], row["critical"], row["count"], row["newest"]) for row in rows} == {
        (True, True, 2, morning),
        (True, False, 1, morning),
        (False, False, 1, None),
    }
