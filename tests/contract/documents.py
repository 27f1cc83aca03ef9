"""The document of section 2 of the contract as text, and readings made of it."""

from vitals.reading import Reading, parse_json, parse_reading

GOLDEN = b"""
{"patient_id": "patient-001-ss", "device_id": "6f0c", "timestamp": "2025-08-24T10:30:00.123456Z",
 "measurements": {"freq_card": 120, "freq_resp": 18, "spo2_pct": 85.0, "temp_corp": 38.5}}
"""


def reading(measurements: dict[str, float]) -> Reading:
    """Return the golden reading with other measurements."""
    return parse_reading(parse_json(GOLDEN) | {"measurements": measurements})
