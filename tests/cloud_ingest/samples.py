"""Readings that the tests send."""

from __future__ import annotations

import copy
from typing import Any

from cloud_ingest.recorder.row_mapping import Row, Table, row_of

NORMAL: dict[str, Any] = {
    "patient_id": "patient-001-ss",
    "device_id": "bracelet-001",
    "timestamp": "2025-08-24T10:30:00.123456Z",
    "measurements": {"freq_card": 92, "freq_resp": 18, "spo2_pct": 97.0, "temp_corp": 36.8},
}
CRISIS: dict[str, Any] = {
    **NORMAL,
    "measurements": {"freq_card": 120, "freq_resp": 18, "spo2_pct": 85.0, "temp_corp": 38.5},
}


def reading(base: dict[str, Any] = NORMAL, **changes: Any) -> dict[str, Any]:
    """Return a copy of a reading with some fields changed."""
    return {**copy.deepcopy(base), **changes}


def a_row(table: Table, value: bytes) -> Row:
    """Return the row made of a message."""
    row = row_of(table, value)
    assert row is not None
    return row
