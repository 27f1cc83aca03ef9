"""Days, compared with values computed by hand."""

from __future__ import annotations

from datetime import date, timedelta

from lakehouse import gold
from lakehouse.recompute import WindowRecomputer, update_days
from lakehouse.sinks import DAILY, WINDOWS, Tables
from tests.lakehouse.conftest import AppendReadings
from tests.lakehouse.samples import MORNING, reading


def test_daily_is_recomputed_when_late_readings_arrive(
    tables: Tables, append_readings: AppendReadings
) -> None:
    spo2 = {0: 96.0, 6: 86.0, 12: 95.0}
    live = [reading(n, MORNING + timedelta(minutes=n), measurements={"spo2_pct": v}) for n, v in spo2.items()]
    next_day = reading(90, MORNING + timedelta(days=1), measurements={"temp_corp": 38.0})
    windows = WindowRecomputer(tables)
    windows.update(append_readings(0, [*live, next_day]))
    assert update_days(tables) == 2
    first, second = tables.read(DAILY).orderBy("day").collect()
    assert (first["day"], second["day"]) == (date(2025, 8, 24), date(2025, 8, 25))
    assert (first["received"], first["minutes_with_data"], first["coverage_pct"]) == (3, 3, 0.2)
    assert (first["spo2_pct_baseline"], first["freq_card_baseline"]) == (95.0, 92.0)
    assert (first["minutes_spo2_below_threshold"], first["minutes_with_fever"]) == (1, 0)
    assert (first["critical_spo2_alerts"], first["alerts"]) == (1, 1)
    assert (second["minutes_with_fever"], second["critical_temperature_alerts"], second["alerts"]) == (
        1,
        1,
        1,
    )

    assert update_days(tables) == 0
    windows.update(
        append_readings(1, [reading(91, MORNING + timedelta(minutes=6), measurements={"spo2_pct": 85.0})])
    )
    stale = gold.stale(tables.read(WINDOWS), tables.read(DAILY)).collect()
    assert [row["day"] for row in stale] == [date(2025, 8, 24)]
    assert update_days(tables) == 1
    again = tables.read(DAILY).orderBy("day").first()
    assert again is not None
    assert (again["received"], again["minutes_spo2_below_threshold"], again["alerts"]) == (4, 1, 2)
