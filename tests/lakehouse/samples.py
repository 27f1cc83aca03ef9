"""Kafka values that the tests send, written out."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

PATIENT = "p1_00000000000000000000000000000001"
MORNING = datetime(2025, 8, 24, 10, 30, tzinfo=UTC)


def message_id(number: int) -> str:
    """Return a UUID made from a number."""
    return f"00000000-0000-4000-8000-{number:012d}"


def reading(number: int, at: datetime = MORNING, **changes: Any) -> dict[str, Any]:
    """Return a valid reading as the API publishes it; `measurements` may be partial."""
    measured = {"freq_card": 92.0, "freq_resp": 18.0, "spo2_pct": 97.0, "temp_corp": 36.8}
    document: dict[str, Any] = {
        "patient_id": PATIENT,
        "device_id": "bracelet-001",
        "timestamp": wire(at),
        "measurements": measured | changes.pop("measurements", {}),
        "message_id": message_id(number),
        "seq": number,
        "boot": 1,
        "gateway_id": "gw-1",
        "source": "ble",
        "signal": {"contact": True, "motion": False, "battery_pct": 80},
        "ingestion_timestamp": wire(at + timedelta(seconds=1)),
        "api_version": "1.0.0",
        "invalid_fields": [],
        "quality_score": 100.0,
    }
    return document | changes


def alert(number: int, at: datetime = MORNING, **changes: Any) -> dict[str, Any]:
    """Return a critical alert of the reading with this number."""
    return {
        "alert_id": f"00000000-0000-5000-9000-{number:012d}",
        "message_id": message_id(number),
        "patient_id": PATIENT,
        "device_id": "bracelet-001",
        "timestamp": wire(at),
        "type": "CRITICAL_SPO2",
        "severity": "CRITICAL",
        "value": 85.0,
        "threshold": 88.0,
        "message": "SpO2 85 % is below 88 %",
        "message_fr": "SpO2 à 85 %, sous 88 %",
        "ingestion_timestamp": wire(at),
        **changes,
    }


def status(number: int, at: datetime = MORNING) -> dict[str, Any]:
    """Return the bracelet's state at the reading with this number."""
    return {
        "status_id": f"00000000-0000-5000-a000-{number:012d}",
        "message_id": message_id(number),
        "device_id": "bracelet-001",
        "patient_id": PATIENT,
        "gateway_id": "gw-1",
        "timestamp": wire(at),
        "ingestion_timestamp": wire(at),
        "contact": True,
        "battery_pct": 80,
    }


def wire(at: datetime) -> str:
    """Return a time as written in JSON."""
    return at.isoformat().replace("+00:00", "Z")


def encode(document: object) -> bytes:
    """Return UTF-8 JSON."""
    return json.dumps(document, ensure_ascii=False).encode()
