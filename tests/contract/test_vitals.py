"""Section 1: the four vitals, their units, codes and plausible ranges."""

import pytest

from tests.contract.documents import reading
from vitals.limits import VITALS
from vitals.rules import AlertType, evaluate

TABLE = [
    ("spo2_pct", "%", ("59408-5", "2708-6")),
    ("freq_card", "/min", ("8867-4",)),
    ("freq_resp", "/min", ("9279-1",)),
    ("temp_corp", "Cel", ("8310-5",)),
]


def test_the_four_vitals_with_units_and_codes() -> None:
    assert [(vital.field, vital.unit, vital.loinc) for vital in VITALS] == TABLE


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *[("spo2_pct", value) for value in (0.1, 1, 50, 100, 100.0)],
        *[("freq_card", value) for value in (0.1, 1, 299, 300)],
        *[("freq_resp", value) for value in (0.1, 1, 119, 120)],
        *[("temp_corp", value) for value in (25.0, 25, 36.8, 45.0)],
    ],
)
def test_plausible_values(field: str, value: float) -> None:
    assert reading({field: value}).measurements.invalid_fields == ()


@pytest.mark.parametrize(
    ("field", "value", "alert"),
    [
        *[(field, 0, "SENSOR_OFF") for field in ("spo2_pct", "freq_card", "freq_resp", "temp_corp")],
        *[("spo2_pct", value, "INVALID_VALUE") for value in (-1, 100.1, 101, 1000)],
        *[("freq_card", value, "INVALID_VALUE") for value in (-1, 300.1, 301)],
        *[("freq_resp", value, "INVALID_VALUE") for value in (-1, 120.1, 121)],
        *[("temp_corp", value, "INVALID_VALUE") for value in (-1, 24.9, 45.1, 98.6)],
    ],
)
def test_implausible_value_is_accepted_marked_and_technical(field: str, value: float, alert: str) -> None:
    seen = reading({field: value})
    assert seen.measurements.invalid_fields == (field,)
    assert seen.to_wire()["measurements"] == {field: value}
    assert [raised.type for raised in evaluate(seen)] == [AlertType(alert)]


def test_reading_with_valid_and_invalid_values_is_accepted_and_evaluated() -> None:
    seen = reading({"spo2_pct": 0, "freq_card": 190, "temp_corp": 38.5})
    assert [raised.type for raised in evaluate(seen)] == [
        "CRITICAL_TEMPERATURE",
        "CRITICAL_HEART_RATE",
        "SENSOR_OFF",
    ]
