"""A simulated night: every critical reading has an alert record, and few cause a notification."""

from __future__ import annotations

from tests.edge_gateway.alarms.night import night


async def test_night_records_every_critical_reading_and_sends_few_notifications() -> None:
    result = await night(1.5)
    assert result.readings == 3 * 5400
    assert result.critical > 100
    assert result.missed == 0
    assert 0 < len(result.notifications) <= 0.1 * result.records
    assert max(result.delays_s) == 0
