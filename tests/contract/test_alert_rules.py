"""Section 4: alert rules at their boundaries, alert types and severities."""

import hashlib
import math
from uuid import UUID

import pytest

from tests.contract.documents import reading
from vitals.limits import FUTURE_TOLERANCE_S
from vitals.rules import AlertType, alert_id, evaluate, records

SPO2, TEMPERATURE, HEART_RATE = "CRITICAL_SPO2", "CRITICAL_TEMPERATURE", "CRITICAL_HEART_RATE"
COMBINED = "CRITICAL_FEVER_SPO2"
MESSAGE_ID = UUID("8f14e45f-ceea-467f-a9b8-2d1c3b4a5e6f")


@pytest.mark.parametrize(
    ("measurements", "raised"),
    [
        ({"spo2_pct": 88.0}, []),
        ({"spo2_pct": 88}, []),
        ({"spo2_pct": 87.99}, [SPO2]),
        ({"spo2_pct": 87.9}, [SPO2]),
        ({"spo2_pct": 87.6}, [SPO2]),
        ({"spo2_pct": math.nextafter(88, 0)}, [SPO2]),
        ({"spo2_pct": 1}, [SPO2]),
        ({"spo2_pct": 0}, []),
        ({"temp_corp": 37.9}, []),
        ({"temp_corp": 37.96}, []),
        ({"temp_corp": math.nextafter(38, 0)}, []),
        ({"temp_corp": 38.0}, [TEMPERATURE]),
        ({"temp_corp": 38}, [TEMPERATURE]),
        ({"temp_corp": 45.0}, [TEMPERATURE]),
        ({"temp_corp": 45.1}, []),
        ({"freq_card": 40}, []),
        ({"freq_card": 180}, []),
        ({"freq_card": 39}, [HEART_RATE]),
        ({"freq_card": 39.9}, [HEART_RATE]),
        ({"freq_card": 180.1}, [HEART_RATE]),
        ({"freq_card": 181}, [HEART_RATE]),
        ({"freq_card": 300}, [HEART_RATE]),
        ({"freq_card": 1}, [HEART_RATE]),
        ({"freq_card": 0}, []),
        ({"freq_card": 301}, []),
        ({"spo2_pct": 92, "temp_corp": 38.0}, [TEMPERATURE, COMBINED]),
        ({"spo2_pct": 92.0, "temp_corp": 37.96}, []),
        ({"spo2_pct": 92.1, "temp_corp": 38.0}, [TEMPERATURE]),
        ({"spo2_pct": 88.0, "temp_corp": 38.0}, [TEMPERATURE, COMBINED]),
        ({"spo2_pct": 87.9, "temp_corp": 38.0}, [SPO2, TEMPERATURE, COMBINED]),
        ({"spo2_pct": 87.9, "temp_corp": 37.96}, [SPO2]),
        ({"spo2_pct": 0, "temp_corp": 38.0}, [TEMPERATURE]),
        ({"spo2_pct": 85, "temp_corp": 45.1}, [SPO2]),
        ({"spo2_pct": 85.0, "temp_corp": 38.5, "freq_card": 181}, [SPO2, TEMPERATURE, HEART_RATE, COMBINED]),
        ({"freq_resp": 1}, []),
        ({"freq_resp": 120}, []),
    ],
    ids=str,
)
def test_critical_rules(measurements: dict[str, float], raised: list[str]) -> None:
    critical = [alert for alert in evaluate(reading(measurements)) if alert.type.startswith("CRITICAL_")]
    assert [alert.type.value for alert in critical] == raised
    assert {alert.severity.value for alert in critical} <= {"CRITICAL"}


def test_alert_types_and_severities() -> None:
    assert {kind.value: kind.severity.value for kind in AlertType} == {
        "CRITICAL_SPO2": "CRITICAL",
        "CRITICAL_TEMPERATURE": "CRITICAL",
        "CRITICAL_HEART_RATE": "CRITICAL",
        "CRITICAL_FEVER_SPO2": "CRITICAL",
        "SENSOR_OFF": "TECHNICAL",
        "INVALID_VALUE": "TECHNICAL",
        "LOW_BATTERY": "TECHNICAL",
        "NO_DATA": "TECHNICAL",
        "GATEWAY_SILENT": "TECHNICAL",
        "CLOCK_SKEW": "TECHNICAL",
    }


def test_future_tolerance_is_five_minutes() -> None:
    assert FUTURE_TOLERANCE_S == 5 * 60


@pytest.mark.parametrize(
    ("kind", "identity"),
    [
        ("CRITICAL_SPO2", "273c059f-5b55-5369-aa8f-659b1f82680d"),
        ("CRITICAL_TEMPERATURE", "cc3f5bcb-eef5-5ef1-bd91-c2ef695553aa"),
        ("CRITICAL_HEART_RATE", "c65553aa-433d-5d33-8ea6-731b842d9e04"),
        ("CRITICAL_FEVER_SPO2", "d0691e48-609c-5423-a6f7-48923ead1ba8"),
    ],
)
def test_alert_id_is_uuid5_of_message_and_type(kind: str, identity: str) -> None:
    assert str(alert_id(MESSAGE_ID, AlertType(kind))) == identity
    # RFC 9562, section 5.5: SHA-1 over namespace and name, first 16 bytes, version and variant set.
    digest = bytearray(hashlib.sha1(MESSAGE_ID.bytes + kind.encode()).digest()[:16])
    digest[6], digest[8] = digest[6] & 0x0F | 0x50, digest[8] & 0x3F | 0x80
    assert bytes(digest).hex() == identity.replace("-", "")


def test_one_record_per_rule_for_every_reading() -> None:
    crisis = reading({"spo2_pct": 85.0, "temp_corp": 38.5})
    first, again = records(crisis, MESSAGE_ID), records(crisis, MESSAGE_ID)
    assert [record.type.value for record in first] == [SPO2, TEMPERATURE, COMBINED]
    assert first == again
    assert [(record.value, record.threshold) for record in first] == [
        (85.0, 88.0),
        (38.5, 38.0),
        (85.0, 92.0),
    ]
