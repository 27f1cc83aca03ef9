"""What reaches people about the children of one gateway, also after a restart and with a disk that hangs."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest

from edge_gateway.alarms import monitor as module
from edge_gateway.alarms import technical_conditions
from edge_gateway.alarms.monitor import AlarmBook, Ward
from edge_gateway.outbox.outbox import Outbox
from tests.edge_gateway.helpers import eventually
from vitals.conditions import Condition, Priority
from vitals.episodes import Phase
from vitals.message import Message
from vitals.notices import Group
from vitals.reading import Measurements, Reading, Signal
from vitals.rules import records

NIGHT = datetime(2025, 8, 24, 2, 0, tzinfo=UTC)
SECOND, MINUTE = timedelta(seconds=1), timedelta(minutes=1)


class Clock:
    def __init__(self) -> None:
        self.now = NIGHT

    def __call__(self) -> datetime:
        return self.now


class Forgetful:
    """Keeps nothing."""

    async def alarm_states(self) -> dict[str, str]:
        return {}

    async def keep_alarm_state(self, name: str, state: str) -> None:
        pass


class Hanging(Forgetful):
    async def keep_alarm_state(self, *_: str) -> None:
        await asyncio.Event().wait()


def children_only(ward: Ward, now: datetime) -> Iterator[Condition]:
    for child in ward.children.values():
        yield from technical_conditions.of_child(child, [], ward.started, now)


def a_ward(clock: Clock, book: AlarmBook | None = None) -> tuple[Ward, list[Message]]:
    told: list[Message] = []
    names, devices = {"patient-001-ss": "Awa"}, {"bracelet-001": "patient-001-ss"}
    ward = Ward("gw-test", names, devices, book or Forgetful(), children_only, clock)
    ward.callers.append(told.append)
    return ward, told


def measure(ward: Ward, at: datetime, spo2: float, signal: Signal | None = None) -> None:
    reading = Reading(
        patient_id="patient-001-ss",
        device_id="bracelet-001",
        timestamp=at,
        measurements=Measurements(spo2_pct=spo2),
        message_id=uuid4(),
        signal=signal,
    )
    assert reading.message_id
    ward.observe(reading, records(reading, reading.message_id))


def tick_for(ward: Ward, clock: Clock, length: timedelta) -> None:
    for _ in range(int(length / SECOND)):
        clock.now += SECOND
        ward.tick()


async def more_than(told: list[Message], so_far: int) -> None:
    await eventually(lambda: len(told) > so_far)


async def test_alarm_says_whom_it_is_about_in_both_languages() -> None:
    ward, told = a_ward(Clock())
    await ward.recall()
    measure(ward, NIGHT, 85.0)
    (said,) = told
    assert (said.title("en"), said.body["en"]) == (
        "ALARM Awa",
        "Low oxygen: worst SpO2 85 %, for less than a minute",
    )
    assert (said.title("fr"), said.body["fr"]) == (
        "ALARME Awa",
        "Manque d'oxygène\u00a0: au pire SpO2 85 %, depuis moins d'une minute",
    )
    assert (said.patient_id, said.kind, said.priority) == ("patient-001-ss", "SPO2", Priority.HIGH)
    assert "Awa" not in said.to_json()


async def test_alarms_and_silence_survive_a_restart(tmp_path: Path) -> None:
    clock = Clock()
    with Outbox(tmp_path / "outbox.sqlite3") as outbox:
        ward, _ = a_ward(clock, outbox)
        await ward.recall()
        measure(ward, NIGHT, 85.0)
        ward.acknowledge("patient-001-ss", "Fatou")
        await ward.keep(everything=False)
    with Outbox(tmp_path / "outbox.sqlite3") as outbox:
        ward, told = a_ward(clock, outbox)
        await ward.recall()
        episode = ward.children["patient-001-ss"].episodes.episodes[Group.SPO2]
        assert episode.phase is Phase.ACKNOWLEDGED
        assert episode.silence is not None
        assert episode.silence.by == "Fatou"
        clock.now += 9 * MINUTE
        tick_for(ward, clock, 2 * MINUTE)
    assert [said.why for said in told if said.kind == "SPO2"] == ["silence_over"]


async def test_state_that_cannot_be_read_is_a_fresh_start() -> None:
    class Broken(Forgetful):
        async def alarm_states(self) -> dict[str, str]:
            return {"gateway": "{", "child:patient-001-ss": '{"episodes": 3}'}

    ward, told = a_ward(Clock(), Broken())
    await ward.recall()
    measure(ward, NIGHT, 85.0)
    assert len(told) == 1


async def test_disk_that_hangs_holds_no_alarm_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_EVERY_S", 0.005)
    clock = Clock()
    ward, told = a_ward(clock, Hanging())
    await ward.recall()
    running = asyncio.create_task(ward.run())
    measure(ward, NIGHT, 85.0)
    await asyncio.sleep(0.05)
    for _ in range(3):
        clock.now += 2 * MINUTE
        await more_than(told, len(told))
    running.cancel()


async def test_child_never_heard_climbs_the_ladder_and_its_reason_is_given() -> None:
    clock = Clock()
    ward, told = a_ward(clock)
    await ward.recall()
    tick_for(ward, clock, 31 * MINUTE)
    steps = [((said.at - NIGHT) // SECOND, said.priority.name) for said in told]
    assert steps == [(120, "LOW"), (600, "MEDIUM"), (1200, "MEDIUM"), (1800, "HIGH")]
    assert told[0].body["en"] == "No values: out of range or switched off"


async def test_child_that_falls_silent_with_an_alarm_open_is_urgent_at_once() -> None:
    clock = Clock()
    ward, told = a_ward(clock)
    await ward.recall()
    for _ in range(90):
        clock.now += SECOND
        measure(ward, clock.now, 85.0)
        ward.tick()
    tick_for(ward, clock, 31 * SECOND)
    missing = [said for said in told if said.kind == "NO_DATA"]
    assert [said.priority for said in missing] == [Priority.HIGH]


async def test_restart_after_a_long_absence_gives_bracelets_a_minute(tmp_path: Path) -> None:
    clock = Clock()
    with Outbox(tmp_path / "outbox.sqlite3") as outbox:
        ward, _ = a_ward(clock, outbox)
        await ward.recall()
        measure(ward, NIGHT, 97.0)
        await ward.keep()
        clock.now += timedelta(hours=2)
        ward, told = a_ward(clock, outbox)
        await ward.recall()
        tick_for(ward, clock, 59 * SECOND)
        assert told == []
        tick_for(ward, clock, SECOND)
        assert [said.priority for said in told] == [Priority.HIGH]


async def test_invalid_value_is_no_value_and_lost_contact_is_the_reason() -> None:
    clock = Clock()
    ward, told = a_ward(clock)
    await ward.recall()
    measure(ward, NIGHT, 97.0)
    for _ in range(130):
        clock.now += SECOND
        measure(ward, clock.now, 0.0, Signal(contact=False))
        ward.tick()
    assert [said.body["en"] for said in told] == ["Sensor off", "No values: not worn"]


async def test_backlog_does_not_make_an_old_value_the_latest() -> None:
    clock = Clock()
    ward, _ = a_ward(clock)
    await ward.recall()
    measure(ward, NIGHT, 97.0)
    measure(ward, NIGHT - 5 * MINUTE, 91.0)
    value = ward.children["patient-001-ss"].values["spo2_pct"]
    assert (value.number, value.measured) == (97.0, NIGHT)


async def test_flood_of_made_up_patients_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST_STRANGERS", 3)
    ward, _ = a_ward(Clock())
    await ward.recall()
    for number in range(10):
        reading = Reading(
            patient_id=f"made-up-{number}",
            device_id="x",
            timestamp=NIGHT,
            measurements=Measurements(spo2_pct=97.0),
            message_id=uuid4(),
        )
        ward.observe(reading, ())
    assert list(ward.children) == ["patient-001-ss", "made-up-0", "made-up-1", "made-up-2"]


async def test_silence_of_a_child_that_is_not_listed_is_an_alarm_only_while_one_is_open(
    tmp_path: Path,
) -> None:
    clock = Clock()
    ward, told = a_ward(clock)
    await ward.recall()
    for patient_id, spo2 in (("well", 97.0), ("ill", 85.0)):
        reading = Reading(
            patient_id=patient_id,
            device_id=f"bracelet-of-{patient_id}",
            timestamp=NIGHT,
            measurements=Measurements(spo2_pct=spo2),
            message_id=uuid4(),
        )
        assert reading.message_id
        ward.observe(reading, records(reading, reading.message_id))
    tick_for(ward, clock, 20 * MINUTE)
    assert {said.patient_id for said in told if said.kind == "NO_DATA"} == {"patient-001-ss", "ill"}


async def test_alarm_of_a_child_that_is_not_listed_survives_a_restart(tmp_path: Path) -> None:
    def ill() -> Reading:
        return Reading(
            patient_id="gateway",  # a name like that of the gateway's own state
            device_id="x",
            timestamp=NIGHT,
            measurements=Measurements(spo2_pct=85.0),
            message_id=uuid4(),
        )

    with Outbox(tmp_path / "outbox.sqlite3") as outbox:
        ward, told = a_ward(Clock(), outbox)
        await ward.recall()
        first, second = ill(), ill()
        assert first.message_id
        assert second.message_id
        ward.observe(first, records(first, first.message_id))
        await ward.keep()
        again, told_again = a_ward(Clock(), outbox)
        await again.recall()
        again.observe(second, records(second, second.message_id))
    assert (len(told), len(told_again)) == (1, 0)
