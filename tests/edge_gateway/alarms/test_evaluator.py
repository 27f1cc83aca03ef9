"""Every reading is judged at once, its records reach every queue, and the log names no child."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

import pytest

from edge_gateway.alarms.evaluator import Alarms
from edge_gateway.state import Counters
from runtime.notification_queue import NotificationQueue
from tests.edge_gateway.helpers import a_reading, eventually
from vitals.reading import Reading
from vitals.rules import AlertRecord


async def test_reading_that_meets_two_rules_tells_of_all_in_order() -> None:
    told: list[AlertRecord] = []

    async def deliver(alert: AlertRecord) -> None:
        told.append(alert)

    counters = Counters()
    alarms = Alarms([NotificationQueue("test", deliver, counters)], counters)
    task = asyncio.create_task(alarms.run())
    found = alarms.judge(a_reading(spo2_pct=85.0, temp_corp=38.5))
    await eventually(lambda: len(told) == 3)
    task.cancel()
    assert [alert.type.value for alert in told] == [
        "CRITICAL_SPO2",
        "CRITICAL_TEMPERATURE",
        "CRITICAL_FEVER_SPO2",
    ]
    assert told == list(found)
    assert counters.alerts == {"CRITICAL_SPO2": 1, "CRITICAL_TEMPERATURE": 1, "CRITICAL_FEVER_SPO2": 1}


async def test_every_reading_is_observed_with_its_records() -> None:
    observed: list[tuple[Reading, list[str]]] = []

    def observe(reading: Reading, alerts: Sequence[AlertRecord]) -> None:
        observed.append((reading, [alert.type.value for alert in alerts]))

    alarms = Alarms([], Counters(), observe)
    well, ill = a_reading(spo2_pct=97.0), a_reading(freq_card=190)
    alarms.judge(well)
    alarms.judge(ill)
    assert observed == [(well, []), (ill, ["CRITICAL_HEART_RATE"])]


async def test_log_names_device_and_type_and_never_the_patient(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    Alarms([], Counters()).judge(a_reading("bracelet-77", spo2_pct=80.0))
    assert "alert CRITICAL_SPO2 from bracelet-77" in caplog.text
    assert "patient-001" not in caplog.text
