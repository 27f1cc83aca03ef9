"""Plausible ranges: open at zero, closed at the top; temperature closed at both ends."""

import math

import pytest

from vitals.limits import BY_FIELD, HEART_RATE, RESPIRATORY_RATE, SPO2, TEMPERATURE, VITALS, Vital, shown

TINIEST = math.ulp(0.0)


@pytest.mark.parametrize(
    ("vital", "value"),
    [
        (SPO2, TINIEST),
        (SPO2, 1),
        (SPO2, 100),
        (HEART_RATE, TINIEST),
        (HEART_RATE, 300),
        (RESPIRATORY_RATE, TINIEST),
        (RESPIRATORY_RATE, 120),
        (TEMPERATURE, 25.0),
        (TEMPERATURE, 45.0),
    ],
)
def test_is_plausible_at_the_edge(vital: Vital, value: float) -> None:
    assert vital.is_plausible(value)


@pytest.mark.parametrize(
    ("vital", "value"),
    [
        (SPO2, 0),
        (SPO2, -0.0),
        (SPO2, -1),
        (SPO2, math.nextafter(100, 101)),
        (HEART_RATE, 0),
        (HEART_RATE, math.nextafter(300, 301)),
        (RESPIRATORY_RATE, 0),
        (RESPIRATORY_RATE, math.nextafter(120, 121)),
        (TEMPERATURE, 0),
        (TEMPERATURE, math.nextafter(25, 24)),
        (TEMPERATURE, math.nextafter(45, 46)),
        *((vital, number) for vital in VITALS for number in (math.nan, math.inf, -math.inf)),
    ],
)
def test_is_plausible_just_outside(vital: Vital, value: float) -> None:
    assert not vital.is_plausible(value)


def test_by_field_knows_every_vital() -> None:
    assert BY_FIELD == {
        "spo2_pct": SPO2,
        "freq_card": HEART_RATE,
        "freq_resp": RESPIRATORY_RATE,
        "temp_corp": TEMPERATURE,
    }


@pytest.mark.parametrize(
    ("field", "value", "digits", "text"),
    [
        ("spo2_pct", 97.4, 0, "97"),
        ("spo2_pct", 87.6, 0, "87.6"),
        ("spo2_pct", 87.96, 0, "87.96"),
        ("spo2_pct", 87.99999, 0, "87.99999"),
        ("spo2_pct", 88.0, 0, "88"),
        ("spo2_pct", 85.00712023960448, 1, "85.0"),
        ("temp_corp", 37.96, 1, "37.96"),
        ("temp_corp", 38.0, 1, "38.0"),
        ("temp_corp", 36.84, 1, "36.8"),
        ("freq_card", 180.4, 0, "180.4"),
        ("freq_card", 39.9, 0, "39.9"),
        ("freq_resp", 18.4, 0, "18"),
    ],
)
def test_shown_value_never_reaches_a_boundary_it_has_not(
    field: str, value: float, digits: int, text: str
) -> None:
    assert shown(field, value, digits) == text
