"""Notifications about the children of one gateway, also after a restart and while the disk hangs."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest

from edge_gateway.alarms import monitor as module
from edge_gateway.alarms import technical_conditions
from edge_gateway.alarms.monitor import AlarmMonitor, AlarmStore
from edge_gateway.outbox.outbox import Outbox
from tests.edge_gateway.helpers import VolatileAlarmStore
from tests.waiting import eventually
from vitals.conditions import Condition, Priority
from vitals.episodes import Phase
from vitals.message import Message
from vitals.notices import Group
from vitals.reading import Measurements, Reading, Signal
from vitals.rules import records

NIGHT = datetime(2025, 8, 24, 2, 0, tzinfo=UTC)
SECOND, MINUTE = timedelta(seconds=1), timedelta(minutes=1)


class SteppedClock:
    def __init__(self) -> None:
        self.now = NIGHT

    def __call__(self) -> datetime:
        return self.now


class HangingAlarmStore(VolatileAlarmStore):
    async def keep_alarm_state(self, *_: str) -> None:
        await asyncio.Event().wait()


def children_only(monitor: AlarmMonitor, now: datetime) -> Iterator[Condition]:
    for child in monitor.children.values():
        yield from technical_conditions.of_child(child, [], monitor.started, now)


def a_monitor(clock: SteppedClock, store: AlarmStore | None = None) -> tuple[AlarmMonitor, list[Message]]:
    notifications: list[Message] = []
    names, devices = {"patient-001-ss": "Awa"}, {"bracelet-001": "patient-001-ss"}
    monitor = AlarmMonitor("gw-test", names, devices, store or VolatileAlarmStore(), children_only, clock)
    monitor.listeners.append(notifications.append)
    return monitor, notifications


def measure(monitor: AlarmMonitor, at: datetime, spo2: float, signal: Signal | None = None) -> None:
    reading = Reading(
        patient_id="patient-001-ss",
        device_id="bracelet-001",
        timestamp=at,
        measurements=Measurements(spo2_pct=spo2),
        message_id=uuid4(),
        signal=signal,
    )
    assert reading.message_id
    monitor.observe(reading, records(reading, reading.message_id))


def tick_for(monitor: AlarmMonitor, clock: SteppedClock, length: timedelta) -> None:
    for _ in range(int(length / SECOND)):
        clock.now += SECOND
        monitor.tick()


async def more_than(notifications: list[Message], so_far: int) -> None:
    await eventually(lambda: len(notifications) > so_far)


async def test_notification_names_the_child_and_exists_in_both_languages() -> None:
    monitor, notifications = a_monitor(SteppedClock())
    await monitor.load()
    measure(monitor, NIGHT, 85.0)
    (notification,) = notifications
    assert (notification.title("en"), notification.body["en"]) == (
        "ALARM Awa",
        "Low oxygen: worst SpO2 85 %, for less than a minute",
    )
    assert (notification.title("fr"), notification.body["fr"]) == (
        "ALARME Awa",
        "Manque d'oxygène\u00a0: au pire SpO2 85 %, depuis moins d'une minute",
    )
    assert (notification.patient_id, notification.kind, notification.priority) == (
        "patient-001-ss",
        "SPO2",
        Priority.HIGH,
    )
    assert "Awa" not in notification.to_json()


async def test_alarms_and_silence_survive_a_restart(tmp_path: Path) -> None:
    clock = SteppedClock()
    with Outbox(tmp_path / "outbox.sqlite3") as outbox:
        monitor, _ = a_monitor(clock, outbox)
        await monitor.load()
        measure(monitor, NIGHT, 85.0)
        monitor.acknowledge("patient-001-ss", "Fatou")
        await monitor.save(everything=False)
    with Outbox(tmp_path / "outbox.sqlite3") as outbox:
        monitor, notifications = a_monitor(clock, outbox)
        await monitor.load()
        episode = monitor.children["patient-001-ss"].episodes.episodes[Group.SPO2]
        assert episode.phase is Phase.ACKNOWLEDGED
        assert episode.silence is not None
        assert episode.silence.by == "Fatou"
        clock.now += 9 * MINUTE
        tick_for(monitor, clock, 2 * MINUTE)
    assert [notification.why for notification in notifications if notification.kind == "SPO2"] == [
        "silence_over"
    ]


async def test_invalid_persisted_state_is_discarded() -> None:
    class CorruptAlarmStore(VolatileAlarmStore):
        async def alarm_states(self) -> dict[str, str]:
            return {"gateway": "{", "child:patient-001-ss": '{"episodes": 3}'}

    monitor, notifications = a_monitor(SteppedClock(), CorruptAlarmStore())
    await monitor.load()
    measure(monitor, NIGHT, 85.0)
    assert len(notifications) == 1


async def test_hanging_disk_delays_no_notification(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_TICK_S", 0.005)
    clock = SteppedClock()
    monitor, notifications = a_monitor(clock, HangingAlarmStore())
    await monitor.load()
    running = asyncio.create_task(monitor.run())
    measure(monitor, NIGHT, 85.0)
    await asyncio.sleep(0.05)
    for _ in range(3):
        clock.now += 2 * MINUTE
        await more_than(notifications, len(notifications))
    running.cancel()


async def test_child_without_any_value_raises_no_data_with_rising_priority_and_a_reason() -> None:
    clock = SteppedClock()
    monitor, notifications = a_monitor(clock)
    await monitor.load()
    tick_for(monitor, clock, 31 * MINUTE)
    steps = [
        ((notification.at - NIGHT) // SECOND, notification.priority.name) for notification in notifications
    ]
    assert steps == [(120, "LOW"), (600, "MEDIUM"), (1200, "MEDIUM"), (1800, "HIGH")]
    assert notifications[0].body["en"] == "No values: out of range or switched off"


async def test_missing_values_are_urgent_while_an_alarm_is_open() -> None:
    clock = SteppedClock()
    monitor, notifications = a_monitor(clock)
    await monitor.load()
    for _ in range(90):
        clock.now += SECOND
        measure(monitor, clock.now, 85.0)
        monitor.tick()
    tick_for(monitor, clock, 31 * SECOND)
    missing = [notification for notification in notifications if notification.kind == "NO_DATA"]
    assert [notification.priority for notification in missing] == [Priority.HIGH]


async def test_missing_values_are_reported_one_minute_after_a_restart(tmp_path: Path) -> None:
    clock = SteppedClock()
    with Outbox(tmp_path / "outbox.sqlite3") as outbox:
        monitor, _ = a_monitor(clock, outbox)
        await monitor.load()
        measure(monitor, NIGHT, 97.0)
        await monitor.save()
        clock.now += timedelta(hours=2)
        monitor, notifications = a_monitor(clock, outbox)
        await monitor.load()
        tick_for(monitor, clock, 59 * SECOND)
        assert notifications == []
        tick_for(monitor, clock, SECOND)
        assert [notification.priority for notification in notifications] == [Priority.HIGH]


async def test_invalid_value_counts_as_missing_and_lost_contact_is_the_reason() -> None:
    clock = SteppedClock()
    monitor, notifications = a_monitor(clock)
    await monitor.load()
    measure(monitor, NIGHT, 97.0)
    for _ in range(130):
        clock.now += SECOND
        measure(monitor, clock.now, 0.0, Signal(contact=False))
        monitor.tick()
    assert [notification.body["en"] for notification in notifications] == [
        "Sensor off",
        "No values: not worn",
    ]


async def test_older_value_from_a_backlog_does_not_replace_the_latest() -> None:
    clock = SteppedClock()
    monitor, _ = a_monitor(clock)
    await monitor.load()
    measure(monitor, NIGHT, 97.0)
    measure(monitor, NIGHT - 5 * MINUTE, 91.0)
    value = monitor.children["patient-001-ss"].values["spo2_pct"]
    assert (value.number, value.measured) == (97.0, NIGHT)


async def test_number_of_unlisted_children_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MAX_UNLISTED", 3)
    monitor, _ = a_monitor(SteppedClock())
    await monitor.load()
    for number in range(10):
        reading = Reading(
            patient_id=f"made-up-{number}",
            device_id="x",
            timestamp=NIGHT,
            measurements=Measurements(spo2_pct=97.0),
            message_id=uuid4(),
        )
        monitor.observe(reading, ())
    assert list(monitor.children) == ["patient-001-ss", "made-up-0", "made-up-1", "made-up-2"]


async def test_missing_values_of_an_unlisted_child_are_reported_only_while_an_alarm_is_open(
    tmp_path: Path,
) -> None:
    clock = SteppedClock()
    monitor, notifications = a_monitor(clock)
    await monitor.load()
    for patient_id, spo2 in (("well", 97.0), ("ill", 85.0)):
        reading = Reading(
            patient_id=patient_id,
            device_id=f"bracelet-of-{patient_id}",
            timestamp=NIGHT,
            measurements=Measurements(spo2_pct=spo2),
            message_id=uuid4(),
        )
        assert reading.message_id
        monitor.observe(reading, records(reading, reading.message_id))
    tick_for(monitor, clock, 20 * MINUTE)
    assert {notification.patient_id for notification in notifications if notification.kind == "NO_DATA"} == {
        "patient-001-ss",
        "ill",
    }


async def test_alarm_of_an_unlisted_child_survives_a_restart(tmp_path: Path) -> None:
    def ill() -> Reading:
        return Reading(
            patient_id="gateway",  # also the key of the gateway's own state
            device_id="x",
            timestamp=NIGHT,
            measurements=Measurements(spo2_pct=85.0),
            message_id=uuid4(),
        )

    with Outbox(tmp_path / "outbox.sqlite3") as outbox:
        monitor, notifications = a_monitor(SteppedClock(), outbox)
        await monitor.load()
        first, second = ill(), ill()
        assert first.message_id
        assert second.message_id
        monitor.observe(first, records(first, first.message_id))
        await monitor.save()
        again, notifications_after_restart = a_monitor(SteppedClock(), outbox)
        await again.load()
        again.observe(second, records(second, second.message_id))
    assert (len(notifications), len(notifications_after_restart)) == (1, 0)
