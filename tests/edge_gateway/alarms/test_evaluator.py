"""Every reading is evaluated, its alerts reach every queue, and the log identifies no child."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

import pytest

from edge_gateway.alarms.evaluator import AlarmEvaluator
from edge_gateway.state import Counters
from runtime.notification_queue import NotificationQueue
from tests.edge_gateway.helpers import a_reading
from tests.waiting import eventually
from vitals.reading import Reading
from vitals.rules import AlertRecord


async def test_reading_that_meets_two_rules_delivers_every_alert_in_order() -> None:
    delivered: list[AlertRecord] = []

    async def deliver(alert: AlertRecord) -> None:
        delivered.append(alert)

    counters = Counters()
    evaluator = AlarmEvaluator([NotificationQueue("test", deliver, counters)], counters)
    task = asyncio.create_task(evaluator.run())
    alerts = evaluator.evaluate(a_reading(spo2_pct=85.0, temp_corp=38.5))
    await eventually(lambda: len(delivered) == 3)
    task.cancel()
    assert [alert.type.value for alert in delivered] == [
        "CRITICAL_SPO2",
        "CRITICAL_TEMPERATURE",
        "CRITICAL_FEVER_SPO2",
    ]
    assert delivered == list(alerts)
    assert counters.alerts == {"CRITICAL_SPO2": 1, "CRITICAL_TEMPERATURE": 1, "CRITICAL_FEVER_SPO2": 1}


async def test_every_reading_is_observed_with_its_alerts() -> None:
    observed: list[tuple[Reading, list[str]]] = []

    def observe(reading: Reading, alerts: Sequence[AlertRecord]) -> None:
        observed.append((reading, [alert.type.value for alert in alerts]))

    evaluator = AlarmEvaluator([], Counters(), observe)
    well, ill = a_reading(spo2_pct=97.0), a_reading(freq_card=190)
    evaluator.evaluate(well)
    evaluator.evaluate(ill)
    assert observed == [(well, []), (ill, ["CRITICAL_HEART_RATE"])]


async def test_log_names_device_and_type_and_never_the_patient(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    AlarmEvaluator([], Counters()).evaluate(a_reading("bracelet-77", spo2_pct=80.0))
    assert "alert CRITICAL_SPO2 from bracelet-77" in caplog.text
    assert "patient-001" not in caplog.text
