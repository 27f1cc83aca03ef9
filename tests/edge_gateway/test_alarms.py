"""Alerts are raised at once, and no notifier can hold a reading up."""

from __future__ import annotations

import asyncio
import logging

import pytest

from edge_gateway import alarms as module
from edge_gateway.alarms import Alarms
from edge_gateway.errors import NotNotified
from edge_gateway.state import Counters
from tests.edge_gateway.helpers import a_reading, eventually
from vitals.rules import AlertRecord


class Scripted:
    """A notifier that does what its script says, then works."""

    name = "scripted"

    def __init__(self, *script: Exception | None) -> None:
        self.script = list(script)
        self.told: list[AlertRecord] = []

    async def notify(self, alert: AlertRecord) -> None:
        if self.script and (error := self.script.pop(0)):
            raise error
        self.told.append(alert)


class Hanging:
    name = "hanging"

    async def notify(self, _alert: AlertRecord) -> None:
        await asyncio.Event().wait()


async def test_reading_that_meets_two_rules_tells_of_both_in_order() -> None:
    notifier, counters = Scripted(), Counters()
    alarms = Alarms([notifier], counters)
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(alarms.run())
        found = alarms.judge(a_reading(spo2_pct=85.0, temp_corp=38.5))
        await eventually(lambda: len(notifier.told) == 3)
        running.cancel()
    assert [alert.type.value for alert in notifier.told] == [
        "CRITICAL_SPO2",
        "CRITICAL_TEMPERATURE",
        "CRITICAL_FEVER_SPO2",
    ]
    assert notifier.told == list(found)
    assert counters.alerts == {"CRITICAL_SPO2": 1, "CRITICAL_TEMPERATURE": 1, "CRITICAL_FEVER_SPO2": 1}


@pytest.mark.parametrize("error", [NotNotified("away"), ValueError("a bug")])
async def test_failing_notifier_is_counted_and_tried_again(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    notifier, counters = Scripted(error), Counters()
    alarms = Alarms([notifier], counters)
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(alarms.run())
        first, second = a_reading(spo2_pct=80.0), a_reading(spo2_pct=81.0)
        alarms.judge(first)
        await eventually(lambda: counters.notifier_failures == 1)
        alarms.judge(second)
        await eventually(lambda: len(notifier.told) == 2)
        running.cancel()
    assert [alert.message_id for alert in notifier.told] == [first.message_id, second.message_id]
    assert counters.notifier_failures == 1


async def test_hanging_notifier_holds_up_neither_readings_nor_other_notifiers() -> None:
    good = Scripted()
    alarms = Alarms([Hanging(), good], Counters())
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(alarms.run())
        for _ in range(5):
            alarms.judge(a_reading(freq_card=30))
        await eventually(lambda: len(good.told) == 5)
        running.cancel()


async def test_alerts_nobody_takes_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST_WAITING", 10)
    counters = Counters()
    alarms = Alarms([Hanging()], counters)
    for _ in range(25):
        alarms.judge(a_reading(freq_card=30))
    assert counters.alerts_not_notified == 15
    assert counters.alerts["CRITICAL_HEART_RATE"] == 25


async def test_log_names_device_and_type_and_never_the_patient(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    Alarms([], Counters()).judge(a_reading("bracelet-77", spo2_pct=80.0))
    assert "alert CRITICAL_SPO2 from bracelet-77" in caplog.text
    assert "patient-001" not in caplog.text
