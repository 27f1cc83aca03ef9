"""The registry: plausible ranges, alarm limits and their clear limits, and registration."""

import math
import subprocess
import sys
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from vitals.limits import (
    BY_FIELD,
    HEART_RATE,
    RESPIRATORY_RATE,
    SPO2,
    TEMPERATURE,
    VITALS,
    AlarmLimits,
    Limit,
    Vital,
    register,
    shown,
)

TINIEST = math.ulp(0.0)
ROOT = Path(__file__).parents[2]


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


@pytest.mark.parametrize(
    ("vital", "clear_range", "hold"),
    [
        (SPO2, (90.0, 100.0), timedelta(seconds=60)),
        (HEART_RATE, (45.0, 170.0), timedelta(seconds=60)),
        (TEMPERATURE, (25.0, 37.7), timedelta(minutes=10)),
    ],
)
def test_clear_range_of_the_alarms(vital: Vital, clear_range: tuple[float, float], hold: timedelta) -> None:
    assert vital.alarm is not None
    assert (vital.clear_range, vital.alarm.hold) == (clear_range, hold)


def alarm(low: Limit | None = None, high: Limit | None = None) -> AlarmLimits:
    return AlarmLimits("CRITICAL_TEST", "TEST", timedelta(minutes=1), low, high)


@pytest.mark.parametrize(
    ("low", "high", "reason"),
    [
        (None, None, "a low or a high limit is needed"),
        (Limit("low", critical=4, clear=4, worse_by=1), None, "the low limit must clear above 4"),
        (Limit("low", critical=4, clear=3.9, worse_by=1), None, "the low limit must clear above 4"),
        (None, Limit("high", critical=10, clear=10, worse_by=1), "the high limit must clear below 10"),
        (None, Limit("high", critical=10, clear=10.1, worse_by=1), "the high limit must clear below 10"),
        (
            Limit("low", critical=4, clear=8, worse_by=1),
            Limit("high", critical=10, clear=7, worse_by=1),
            "no value is within both clear limits",
        ),
    ],
)
def test_alarm_with_clear_limits_on_the_wrong_side_is_refused(
    low: Limit | None, high: Limit | None, reason: str
) -> None:
    with pytest.raises(ValueError, match=reason):
        alarm(low, high)


@pytest.mark.parametrize(
    ("value", "key"), [(3.9, "low"), (4, None), (7, None), (9.9, None), (10, "high"), (10.1, "high")]
)
def test_crossed_names_the_violated_limit(value: float, key: str | None) -> None:
    low = Limit("low", critical=4, clear=5, worse_by=1)
    high = Limit("high", critical=10, clear=9, worse_by=1, included=True)
    crossed = alarm(low, high).crossed(value)
    assert (crossed.key if crossed else None) == key


@pytest.mark.parametrize("field", ["", "Glucose", "glucose mmol", "glucose;drop", "1st"])
def test_vital_whose_field_cannot_name_a_column_is_refused(field: str) -> None:
    with pytest.raises(ValueError, match="lower-case identifier"):
        replace(RESPIRATORY_RATE, field=field)


def test_vital_with_an_implausible_typical_value_is_refused() -> None:
    with pytest.raises(ValueError, match="outside the plausible range"):
        replace(RESPIRATORY_RATE, typical=121)


def test_vital_with_alarm_limits_outside_its_plausible_range_is_refused() -> None:
    with pytest.raises(ValueError, match="alarm limits outside the plausible range"):
        replace(RESPIRATORY_RATE, alarm=alarm(high=Limit("high", critical=130, clear=50, worse_by=1)))


def test_register_after_the_readings_module_was_imported_is_refused() -> None:
    import vitals.reading  # noqa: F401

    before = VITALS
    with pytest.raises(RuntimeError, match=r"before vitals\.reading is imported"):
        register(replace(RESPIRATORY_RATE, field="glucose_mmol"))
    assert before == tuple(BY_FIELD.values())


REGISTRATION = """
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from vitals.limits import RESPIRATORY_RATE, AlarmLimits, Limit, register

alarm = AlarmLimits({alert_type!r}, {group!r}, timedelta(minutes=1), high=Limit("x", 80, 70, 5))
register(replace(RESPIRATORY_RATE, field={field!r}, alarm=alarm))
import vitals.episodes
"""


@pytest.mark.parametrize(
    ("field", "alert_type", "group", "error"),
    [
        ("freq_resp", "CRITICAL_SPO2", "SPO2", "freq_resp is registered already"),
        ("other", "CRITICAL_OTHER", "SPO2", "'CRITICAL_OTHER' is not a valid AlertType"),
        ("other", "CRITICAL_SPO2", "OTHER", "'OTHER' is not a valid Group"),
    ],
)
def test_vital_with_unknown_names_is_refused(field: str, alert_type: str, group: str, error: str) -> None:
    script = REGISTRATION.format(field=field, alert_type=alert_type, group=group)
    ended = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False, timeout=60
    )
    assert ended.returncode == 1
    assert error in ended.stderr.splitlines()[-1]
