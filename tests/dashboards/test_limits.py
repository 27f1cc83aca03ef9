"""Limits shown on the dashboards are those of the gateway's alarms."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from dashboards.panels import critical_alerts, latest_values
from dashboards.words import ENGLISH
from vitals.conditions import Priority, no_data

NOW = datetime(2025, 8, 24, 10, 30, tzinfo=UTC)


def test_child_has_no_data_when_the_first_no_data_condition_starts() -> None:
    silence = timedelta(seconds=latest_values.NO_DATA_AFTER_S)
    assert no_data(NOW - silence, NOW, alarm_open=False) is Priority.LOW
    assert no_data(NOW - silence + timedelta(seconds=1), NOW, alarm_open=False) is None


def test_value_is_old_after_30_s() -> None:
    assert latest_values.OLD_AFTER_S == 30


def test_critical_alerts_clear_within_the_alarm_limits() -> None:
    sql = critical_alerts.critical_alerts(ENGLISH)
    assert "spo2_pct BETWEEN 90 AND 100" in sql
    assert "freq_card BETWEEN 45 AND 170" in sql
    assert "temp_corp BETWEEN 25 AND 37.7" in sql
    assert sql.count("interval '600 s'") > 0
    assert "count(*) >= 3" in sql


def test_latest_values_are_marked_at_the_critical_limits() -> None:
    sql = latest_values.latest_values(ENGLISH)
    for condition in (
        "spo2_pct.value < 88 THEN '▼ '",
        "freq_card.value < 40 THEN '▼ '",
        "freq_card.value > 180 THEN '▲ '",
        "temp_corp.value >= 38 THEN '▲ '",
    ):
        assert condition in sql
