"""The graphs of the ward on a real database."""

from __future__ import annotations

import pytest

from tests.dashboards.conftest import WardDatabase


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
