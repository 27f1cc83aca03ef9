"""The quality score, with expected values computed by hand."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.vitals.samples import any_vitals, document
from vitals.quality import quality_score
from vitals.reading import parse_reading

ALL = {"freq_card": 92, "freq_resp": 18, "spo2_pct": 97.0, "temp_corp": 36.8}


@pytest.mark.parametrize(
    ("measurements", "signal", "score"),
    [
        (ALL, None, 100.0),
        (ALL, {"contact": True, "motion": False, "low_perfusion": False, "battery_pct": 1}, 100.0),
        (ALL | {"temp_corp": None}, None, 75.0),
        (ALL | {"spo2_pct": 0}, None, 75.0),
        (ALL | {"spo2_pct": 0, "temp_corp": None}, None, 50.0),
        ({"spo2_pct": 85}, None, 25.0),
        ({"spo2_pct": 0}, None, 0.0),
        (ALL, {"motion": True}, 80.0),
        (ALL, {"low_perfusion": True}, 80.0),
        (ALL, {"contact": False}, 50.0),
        (ALL, {"motion": True, "low_perfusion": True}, 64.0),
        (ALL | {"freq_resp": 121}, {"contact": False, "motion": True, "low_perfusion": True}, 24.0),
    ],
)
def test_quality_score(measurements: dict[str, Any], signal: dict[str, Any] | None, score: float) -> None:
    assert quality_score(parse_reading(document(measurements=measurements, signal=signal))) == score


@given(any_vitals(), *[st.none() | st.booleans()] * 3)
def test_quality_score_stays_between_0_and_100(
    vitals: dict[str, float], contact: bool | None, motion: bool | None, low_perfusion: bool | None
) -> None:
    signal = {"contact": contact, "motion": motion, "low_perfusion": low_perfusion}
    reading = parse_reading(document(measurements=vitals, signal=signal))
    assert 0 <= quality_score(reading) <= 100
