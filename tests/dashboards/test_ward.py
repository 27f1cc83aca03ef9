"""Each panel of the ward on a real database: rows in, displayed values out."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tests.dashboards.conftest import WardDatabase

LATEST, LATEST_FR = "Latest values", "Dernières valeurs"
ALERTS, ALERTS_FR = "Critical alerts, open and recent", "Alertes critiques, ouvertes et récentes"
WELL = {"spo2_pct": 97.0, "freq_card": 92.0, "freq_resp": 18.0, "temp_corp": 36.8}


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


def test_vitals_graphs_keep_the_worst_valid_value_of_each_interval(ward: WardDatabase) -> None:
    start = 60 * (int(ward.now.timestamp()) // 60) - 600
    then = ward.now.timestamp() - start
    for second, spo2, rate, breaths, temperature in [
        (0, 96.0, 170.0, 18.0, 36.5),
        (1, 87.5, 39.0, 22.0, 38.2),
        (2, 95.0, 90.0, 20.0, 37.0),
        (60, 97.0, 178.0, 20.0, 36.6),
        (61, 98.0, 95.0, 30.0, 36.4),
    ]:
        ward.insert_reading(
            "a", then - second, spo2_pct=spo2, freq_card=rate, freq_resp=breaths, temp_corp=temperature
        )
    ward.insert_reading("a", then - 3, spo2_pct=0, freq_card=91, invalid_fields=["spo2_pct"])
    ward.insert_reading("b", then, temp_corp=36.9)

    def graph(title: str) -> list[tuple[float, str, float]]:
        rows = ward.rows(title, interval="1m")
        return [(float(row["time"]) - start, row["metric"], row["value"]) for row in rows]

    assert graph("Oxygen saturation (%)") == [(0, "a", 87.5), (60, "a", 97.0)]
    assert graph("Heart rate (/min)") == [(0, "a", 39.0), (60, "a", 178.0)]
    assert graph("Respiratory rate (/min)") == [(0, "a", 20.0), (60, "a", 25.0)]
    assert graph("Body temperature (°C)") == [(0, "a", 38.2), (0, "b", 36.9), (60, "a", 36.6)]


def test_flow_and_delay_count_readings_by_minute(ward: WardDatabase) -> None:
    start = 60 * (int(ward.now.timestamp()) // 60) - 600
    then = ward.now.timestamp() - start
    for second in range(21):
        late = second == 0
        ward.insert_reading(
            "a",
            then - second,
            recorded_at=ward.ago(then - second - (300 if late else second / 10)),
            source="mqtt" if late else "ble",
            late=late,
            spo2_pct=97,
        )
    ward.insert_reading("b", then - 60, spo2_pct=97)
    flow = [
        (float(row["time"]) - start, row["metric"], row["value"]) for row in ward.rows("Readings per minute")
    ]
    assert flow == [(0, "ble", 20), (0, "mqtt", 1), (60, "?", 1)]
    delay = {
        (float(row["time"]) - start, row["metric"]): row["value"]
        for row in ward.rows("Delay, 95th percentile")
    }
    assert delay == {
        (0, "live"): pytest.approx(1.905),  # of 0.1, 0.2 … 2.0
        (0, "backlog"): pytest.approx(300),
        (60, "live"): pytest.approx(0),
    }


def test_errors_are_counted_by_source(ward: WardDatabase) -> None:
    start = 60 * (int(ward.now.timestamp()) // 60) - 600
    then = ward.now.timestamp() - start
    for second, source in [(0, "api"), (1, "api"), (2, "gateway"), (60, "recorder")]:
        ward.insert_error(then - second, source)
    rows = ward.rows("Ingestion errors by source", interval="1m")
    assert [(float(row["time"]) - start, row["metric"], row["value"]) for row in rows] == [
        (0, "api", 2),
        (0, "gateway", 1),
        (60, "recorder", 1),
    ]
