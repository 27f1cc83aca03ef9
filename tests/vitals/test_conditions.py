"""Technical conditions: urgency of missing data, repetition and silence."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from vitals.absence import Absence
from vitals.conditions import Condition, ConditionKind, Conditions, Priority, no_data

NIGHT = datetime(2025, 8, 24, 2, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
LOW, MEDIUM, HIGH = Priority.LOW, Priority.MEDIUM, Priority.HIGH


def missing(priority: Priority) -> Condition:
    return Condition(ConditionKind.NO_DATA, priority, "patient-001-ss", Absence.NOT_WORN)


@pytest.mark.parametrize(
    ("silent_s", "alarm_open", "priority"),
    [
        (0, False, None),
        (119, False, None),
        (120, False, LOW),
        (599, False, LOW),
        (600, False, MEDIUM),
        (1799, False, MEDIUM),
        (1800, False, HIGH),
        (864_000, False, HIGH),
        (29, True, None),
        (30, True, HIGH),
    ],
)
def test_missing_data_becomes_more_urgent_with_time(
    silent_s: int, alarm_open: bool, priority: Priority | None
) -> None:
    assert no_data(NIGHT, NIGHT + timedelta(seconds=silent_s), alarm_open=alarm_open) is priority


def notified_minutes(conditions: Conditions, until: int, priorities: dict[int, Priority]) -> list[int]:
    """Minutes at which a condition is notified, given the minutes at which its priority changes."""
    notified = []
    for minute in range(until):
        current = [priority for start, priority in priorities.items() if minute >= start]
        present = [missing(current[-1])] if current else []
        if conditions.update(present, NIGHT + minute * MINUTE):
            notified.append(minute)
    return notified


def test_condition_is_notified_at_its_start_on_a_rise_and_repeatedly() -> None:
    assert notified_minutes(Conditions(), 46, {2: LOW, 10: MEDIUM, 30: HIGH}) == [2, 10, 20, 30, 35, 40, 45]


def test_condition_that_lasts_for_days_is_still_notified() -> None:
    notified = notified_minutes(Conditions(), 3 * 24 * 60, {0: HIGH})
    assert len(notified) == 3 * 24 * 12


def test_condition_that_ends_and_begins_again_is_notified_again() -> None:
    conditions = Conditions()
    assert conditions.update([missing(LOW)], NIGHT)
    assert not conditions.update([], NIGHT + MINUTE)
    assert conditions.update([missing(LOW)], NIGHT + 2 * MINUTE)


def test_silence_lasts_half_an_hour_or_until_the_priority_rises() -> None:
    conditions = Conditions()
    conditions.update([missing(HIGH)], NIGHT)
    assert conditions.acknowledge("Awa", NIGHT, "NO_DATA:patient-001-ss")
    assert not conditions.acknowledge("Awa", NIGHT, "NO_DATA:nobody")
    notified = [minute for minute in range(40) if conditions.update([missing(HIGH)], NIGHT + minute * MINUTE)]
    assert notified == [30, 35]
    conditions = Conditions()
    conditions.update([missing(LOW)], NIGHT)
    conditions.acknowledge("Awa", NIGHT, missing(LOW).key)
    assert conditions.silence(missing(LOW), NIGHT + MINUTE) == ("Awa", NIGHT + 30 * MINUTE)
    assert conditions.update([missing(MEDIUM)], NIGHT + MINUTE)


def test_acknowledging_one_condition_leaves_the_others() -> None:
    conditions = Conditions()
    conditions.update([missing(LOW), Condition(ConditionKind.UPLINK_DOWN, LOW)], NIGHT)
    conditions.acknowledge("Awa", NIGHT, "NO_DATA:patient-001-ss")
    silent = {key: standing.silenced_by for key, standing in conditions.standing.items()}
    assert silent == {"NO_DATA:patient-001-ss": "Awa", "UPLINK_DOWN:": None}


def test_standing_conditions_survive_a_restart() -> None:
    conditions = Conditions()
    conditions.update([missing(LOW)], NIGHT)
    again = Conditions.model_validate_json(conditions.model_dump_json())
    assert not again.update([missing(LOW)], NIGHT + MINUTE)
    assert again.update([missing(LOW)], NIGHT + 30 * MINUTE)


def test_text_includes_the_reason() -> None:
    assert missing(LOW).text("en") == "No values: not worn"
    assert missing(LOW).text("fr") == "Aucune mesure\u00a0: bracelet non porté"
    for kind in ConditionKind:
        assert kind.text("en") != kind.text("fr")
