"""Part of a simulated night: every critical reading has its record, and few of them wake anybody."""

from __future__ import annotations

from tests.edge_gateway.alarms.night import night


async def test_no_critical_reading_of_a_night_is_missed_and_few_wake_anybody() -> None:
    passed = await night(1.5)
    assert passed.readings == 3 * 5400
    assert passed.critical > 100
    assert passed.missed == 0
    assert 0 < len(passed.told) <= 0.1 * passed.records
    assert max(passed.delays_s) == 0
