"""Groups of alarms, and the texts of notices."""

from __future__ import annotations

from datetime import timedelta

import pytest

from vitals.notices import GROUP_OF, Group, duration_text, value_text
from vitals.rules import AlertType, Severity


def test_every_critical_alert_type_has_a_group() -> None:
    assert GROUP_OF == {
        AlertType.CRITICAL_SPO2: Group.SPO2,
        AlertType.CRITICAL_HEART_RATE: Group.HR,
        AlertType.CRITICAL_TEMPERATURE: Group.TEMP,
        AlertType.CRITICAL_FEVER_SPO2: Group.COMBO,
    }
    assert set(GROUP_OF) == {kind for kind in AlertType if kind.severity is Severity.CRITICAL}


def test_every_group_has_vitals_and_a_name() -> None:
    assert {group: group.fields for group in Group} == {
        Group.SPO2: ("spo2_pct",),
        Group.TEMP: ("temp_corp",),
        Group.HR: ("freq_card",),
        Group.COMBO: ("spo2_pct", "temp_corp"),
    }
    assert all(group.text("en") and group.text("fr") for group in Group)


@pytest.mark.parametrize(
    ("field", "value", "english", "french"),
    [
        ("spo2_pct", 87.6, "SpO2 87.6 %", "SpO2 87,6 %"),
        ("temp_corp", 38.0, "temperature 38 °C", "température 38 °C"),
        ("freq_card", 190.0, "heart rate 190 /min", "pouls 190 /min"),
        ("freq_resp", 18.0, "respiratory rate 18 /min", "fréquence respiratoire 18 /min"),
    ],
)
def test_value_with_its_name_and_unit(field: str, value: float, english: str, french: str) -> None:
    assert (value_text(field, value, "en"), value_text(field, value, "fr")) == (english, french)


def test_unknown_vital_has_no_words() -> None:
    with pytest.raises(KeyError):
        value_text("glucose", 5.6, "en")


@pytest.mark.parametrize(
    ("seconds", "english", "french"),
    [
        (20, "less than a minute", "moins d'une minute"),
        (90, "2 min", "2 min"),
        (3600, "1 h", "1 h"),
        (7500, "2 h 5 min", "2 h 5 min"),
    ],
)
def test_duration_in_words(seconds: int, english: str, french: str) -> None:
    length = timedelta(seconds=seconds)
    assert (duration_text(length, "en"), duration_text(length, "fr")) == (english, french)
