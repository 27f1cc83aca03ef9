"""The table of critical alerts on a real database."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tests.dashboards.conftest import WardDatabase

ALERTS, ALERTS_FR = "Critical alerts, open and recent", "Alertes critiques, ouvertes et récentes"


def test_alerts_are_one_row_per_child_and_rule_newest_first(ward: WardDatabase) -> None:
    ward.insert_alert("a", 30, "CRITICAL_SPO2", "SpO2 85 % is below 88 %")
    ward.insert_alert("a", 20, "CRITICAL_SPO2", "SpO2 84 % is below 88 %")
    ward.insert_alert("b", 10, "CRITICAL_TEMPERATURE", "temperature 39 °C has reached 38 °C")
    ward.insert_alert("b", 10, "LOW_BATTERY", "bracelet battery at 4 %", severity="TECHNICAL")
    assert ward.rows(ALERTS) == [
        {
            "State": "open",
            "Child": "b",
            "Alert": "temperature 39 °C has reached 38 °C",
            "Last record": ward.ago(10),
            "Ago": 10,
            "Records": 1,
        },
        {
            "State": "open",
            "Child": "a",
            "Alert": "SpO2 84 % is below 88 %",
            "Last record": ward.ago(20),
            "Ago": 20,
            "Records": 2,
        },
    ]
    first = ward.rows(ALERTS_FR, language="fr")[0]
    assert (first["État"], first["Alerte"]) == ("ouverte", "temperature 39 °C has reached 38 °C (fr)")


@pytest.mark.parametrize(
    ("kind", "after", "state"),
    [
        ("CRITICAL_SPO2", {"spo2_pct": 90.0}, "over"),
        ("CRITICAL_SPO2", {"spo2_pct": 89.9}, "open"),
        ("CRITICAL_SPO2", {"spo2_pct": 0.0, "invalid_fields": ["spo2_pct"]}, "open"),
        ("CRITICAL_SPO2", {"freq_card": 90.0}, "open"),
        ("CRITICAL_HEART_RATE", {"freq_card": 45.0}, "over"),
        ("CRITICAL_HEART_RATE", {"freq_card": 44.0}, "open"),
        ("CRITICAL_HEART_RATE", {"freq_card": 170.0}, "over"),
        ("CRITICAL_HEART_RATE", {"freq_card": 171.0}, "open"),
        ("CRITICAL_TEMPERATURE", {"temp_corp": 37.7}, "over"),
        ("CRITICAL_TEMPERATURE", {"temp_corp": 37.8}, "open"),
        ("CRITICAL_FEVER_SPO2", {"spo2_pct": 95.0, "temp_corp": 37.0}, "over"),
        ("CRITICAL_FEVER_SPO2", {"spo2_pct": 95.0, "temp_corp": 37.9}, "open"),
        ("CRITICAL_FEVER_SPO2", {"spo2_pct": 89.0, "temp_corp": 37.0}, "open"),
    ],
)
def test_alert_is_over_once_values_are_back_within_clear_limits(
    ward: WardDatabase, kind: str, after: dict[str, object], state: str
) -> None:
    ward.insert_alert("a", 900, kind, "critical")
    for age_s in range(0, 800, 10):
        ward.insert_reading("a", age_s, **after)
    (row,) = ward.rows(ALERTS)
    assert row["State"] == state


@pytest.mark.parametrize(
    ("ages_s", "state"),
    [
        ((0, 10, 20, 30, 40, 50), "open"),  # not long enough
        ((0, 61), "open"),  # too few readings
        ((0, 30, 60, 61), "over"),
        ((), "open"),  # missing data never clears
    ],
)
def test_spo2_alert_needs_three_readings_and_a_minute_to_be_over(
    ward: WardDatabase, ages_s: tuple[int, ...], state: str
) -> None:
    ward.insert_alert("a", 62, "CRITICAL_SPO2", "SpO2 85 % is below 88 %")
    ward.insert_reading("a", 62, spo2_pct=85)
    for age_s in ages_s:
        ward.insert_reading("a", age_s, spo2_pct=96)
    (row,) = ward.rows(ALERTS)
    assert row["State"] == state


def test_open_alert_is_shown_though_its_records_are_older_than_the_range(ward: WardDatabase) -> None:
    ward.insert_alert("silent since", 7200, "CRITICAL_SPO2", "SpO2 80 % is below 88 %")
    ward.insert_alert("well again", 7200, "CRITICAL_SPO2", "SpO2 81 % is below 88 %")
    for age_s in range(0, 100, 10):
        ward.insert_reading("well again", age_s, spo2_pct=97)
    rows = ward.rows(ALERTS, span=timedelta(minutes=15))
    assert [(row["Child"], row["State"], row["Records"]) for row in rows] == [("silent since", "open", 0)]


def test_alert_of_a_fast_clock_is_shown_at_once(ward: WardDatabase) -> None:
    ward.insert_alert("a", -3600, "CRITICAL_SPO2", "SpO2 80 % is below 88 %", recorded_at=ward.ago(5))
    for age_s in range(0, 100, 10):
        ward.insert_reading("a", age_s, spo2_pct=97)
    (row,) = ward.rows(ALERTS)
    assert (row["State"], row["Ago"], row["Last record"]) == ("open", 5, ward.ago(5))
