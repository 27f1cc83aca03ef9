"""The table of latest values on a real database: rows in, displayed cells out."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tests.dashboards.conftest import WardDatabase

WELL = {"spo2_pct": 97.0, "freq_card": 92.0, "freq_resp": 18.0, "temp_corp": 36.8}


LATEST, LATEST_FR = "Latest values", "Dernières valeurs"


def test_latest_values_fresh_reading_shows_numbers_and_age(ward: WardDatabase) -> None:
    ward.insert_reading("a", 4, **WELL)
    ward.insert_reading("a", 9, **WELL | {"spo2_pct": 91.0})
    assert ward.rows(LATEST) == [
        {
            "Child": "a",
            "State": "ok",
            "Last reading": 4,
            "Oxygen saturation (%)": "97",
            "Heart rate (/min)": "92",
            "Respiratory rate (/min)": "18",
            "Body temperature (°C)": "36.8",
        }
    ]


def test_latest_values_in_french_have_french_texts_and_commas(ward: WardDatabase) -> None:
    ward.insert_reading("a", 45, **WELL | {"spo2_pct": 87.6})
    assert ward.rows(LATEST_FR, language="fr") == [
        {
            "Enfant": "a",
            "État": "ok",
            "Dernière mesure": 45,
            "Saturation en oxygène (%)": "ancien\u00a0: ▼ 87,6 (45 s)",
            "Fréquence cardiaque (/min)": "ancien\u00a0: 92 (45 s)",
            "Fréquence respiratoire (/min)": "ancien\u00a0: 18 (45 s)",
            "Température (°C)": "ancien\u00a0: 36,8 (45 s)",
        }
    ]


@pytest.mark.parametrize(
    ("age_s", "cell"),
    [
        (30, "97"),
        (31, "old: 97 (31 s)"),
        (119, "old: 97 (119 s)"),
        (200, "old: 97 (3 min)"),
        (3 * 3600 + 59, "old: 97 (3 h)"),
    ],
)
def test_latest_values_older_than_30_s_are_marked_as_old(ward: WardDatabase, age_s: int, cell: str) -> None:
    ward.insert_reading("a", age_s, **WELL)
    (row,) = ward.rows(LATEST)
    assert row["Oxygen saturation (%)"] == cell
    assert row["Last reading"] == age_s


@pytest.mark.parametrize(
    ("vitals", "column", "cell"),
    [
        ({"spo2_pct": 87.9}, "Oxygen saturation (%)", "▼ 87.9"),
        ({"spo2_pct": 87.96}, "Oxygen saturation (%)", "▼ 87.96"),
        ({"spo2_pct": 88.0}, "Oxygen saturation (%)", "88"),
        ({"temp_corp": 38.0}, "Body temperature (°C)", "▲ 38"),
        ({"temp_corp": 37.96}, "Body temperature (°C)", "37.96"),
        ({"freq_card": 39.9}, "Heart rate (/min)", "▼ 39.9"),
        ({"freq_card": 40.0}, "Heart rate (/min)", "40"),
        ({"freq_card": 180.0}, "Heart rate (/min)", "180"),
        ({"freq_card": 181.0}, "Heart rate (/min)", "▲ 181"),
    ],
)
def test_latest_values_beyond_a_threshold_have_a_sign(
    ward: WardDatabase, vitals: dict[str, float], column: str, cell: str
) -> None:
    ward.insert_reading("a", 1, **vitals)
    (row,) = ward.rows(LATEST)
    assert row[column] == cell


@pytest.mark.parametrize(
    ("age_s", "columns", "state", "cell"),
    [
        (5, {"spo2_pct": 0, "invalid_fields": ["spo2_pct"]}, "sensor off", "sensor off"),
        (
            5,
            {"spo2_pct": 0, "invalid_fields": ["spo2_pct"], "contact": False},
            "not worn",
            "not worn",
        ),
        (5, {"spo2_pct": 104, "invalid_fields": ["spo2_pct"]}, "ok", "impossible value"),
        (5, {"freq_card": 90}, "ok", "not measured"),
        (5, {"freq_card": 90, "contact": False}, "not worn", "not worn"),
        (5, {"spo2_pct": 97, "battery_pct": 15}, "low battery", "97"),
        (5, {"spo2_pct": 97, "battery_pct": 16}, "ok", "97"),
        (120, {"freq_card": 90}, "ok", "not measured"),
        (121, {"freq_card": 90}, "no data", "no data"),
        (121, {"freq_card": 90, "battery_pct": 4}, "low battery", "low battery"),
        (121, {"spo2_pct": 0, "invalid_fields": ["spo2_pct"]}, "no data", "no data"),
        (600, {"spo2_pct": 97}, "no data", "old: 97 (10 min)"),
    ],
)
def test_latest_values_without_a_number_say_why(
    ward: WardDatabase, age_s: int, columns: dict[str, object], state: str, cell: str
) -> None:
    ward.insert_reading("a", age_s, **columns)
    (row,) = ward.rows(LATEST)
    assert (row["State"], row["Oxygen saturation (%)"]) == (state, cell)


def test_latest_values_of_vitals_measured_at_different_times(ward: WardDatabase) -> None:
    ward.insert_reading("a", 2, freq_card=90)
    ward.insert_reading("a", 20, spo2_pct=96)
    ward.insert_reading("a", 50, temp_corp=36.5)
    ward.insert_reading("a", 700, freq_resp=20)
    (row,) = ward.rows(LATEST)
    assert list(row.values()) == ["a", "ok", 2, "96", "90", "not measured", "old: 36.5 (50 s)"]


def test_latest_values_of_a_fast_clock_age_by_the_servers_clock(ward: WardDatabase) -> None:
    ward.insert_reading("a", -200, recorded_at=ward.ago(60), spo2_pct=97)
    (row,) = ward.rows(LATEST)
    assert (row["Last reading"], row["Oxygen saturation (%)"]) == (60, "old: 97 (60 s)")


def test_latest_values_include_children_without_data_in_the_range_or_with_alerts_only(
    ward: WardDatabase,
) -> None:
    ward.insert_reading("silent", 6 * 86400, **WELL)
    ward.insert_reading("gone", 8 * 86400, **WELL)
    ward.insert_alert("clock ahead", -1000, "CRITICAL_SPO2", "SpO2 80 % is below 88 %")
    rows = ward.rows(LATEST, span=timedelta(hours=1))
    assert [(row["Child"], row["State"], row["Last reading"]) for row in rows] == [
        ("clock ahead", "no data", None),
        ("silent", "no data", 6 * 86400),
    ]
    assert rows[0]["Heart rate (/min)"] == "no data"


def test_latest_values_of_chosen_children_only(ward: WardDatabase) -> None:
    for child in ("a", "b", "o'neil"):
        ward.insert_reading(child, 1, **WELL)
    assert [row["Child"] for row in ward.rows(LATEST, "a", "o'neil")] == ["a", "o'neil"]


def test_patient_variable_offers_every_child_once(ward: WardDatabase) -> None:
    assert ward.rows("$patient") == []
    for age_s in (1, 2, 3):
        ward.insert_reading("b", age_s, **WELL)
        ward.insert_reading("a", age_s, **WELL)
    ward.insert_alert("c", 1, "CRITICAL_SPO2", "low")
    assert ward.rows("$patient") == [{"patient_id": "a"}, {"patient_id": "b"}, {"patient_id": "c"}]
