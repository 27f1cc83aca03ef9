"""The children this gateway watches: what each one's latest values are, which alarms stand, who is told.

Decides with `vitals.episodes` and `vitals.conditions`; this is where their state lives, survives a restart
and meets the clock. Nothing here waits for a disk or a network: messages go to queues.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Protocol, TypeVar

from pydantic import BaseModel, ValidationError

from edge_gateway.alarms.trend import Trend
from vitals import message
from vitals.conditions import Condition, Conditions, Priority
from vitals.episodes import Episodes, Phase
from vitals.limits import VITALS
from vitals.message import Message
from vitals.notices import Group
from vitals.reading import Reading, UtcTime
from vitals.rules import AlertRecord

log = logging.getLogger(__name__)

_EVERY_S = 1.0
_EVERYTHING_EVERY = 60
_HANGS_AFTER_S = 10.0
_MOST_STRANGERS = 200
"""A flood of made-up patients must not fill the memory."""
_GATEWAY, _CHILD = "gateway", "child:"
Model = TypeVar("Model", bound=BaseModel)


class AlarmBook(Protocol):
    """Where the state of alarms is kept."""

    async def alarm_states(self) -> dict[str, str]:
        """What was kept, by name."""

    async def keep_alarm_state(self, name: str, state: str) -> None:
        """Keep one state, in place of the one before."""


@dataclass(frozen=True, slots=True)
class Value:
    """The latest value of one vital.

    Attributes:
        measured: when.
    """

    number: float
    measured: datetime


class Watched(BaseModel):
    """What is kept of one child.

    Attributes:
        since: when it began to be watched.
        latest: when the latest value that a body can have was measured.
    """

    episodes: Episodes
    since: UtcTime
    latest: UtcTime | None = None


@dataclass(slots=True)
class Child:
    """One child.

    Attributes:
        name: as carers call it.
        devices: bracelets it wears.
        watched: what survives a restart.
        listed: whether the configuration names it; then its silence is an alarm, too.
        values: the latest of each vital, by field.
        trends: the last hours of each vital, by field.
        no_contact_since: since when the sensor has not touched the skin.
    """

    patient_id: str
    name: str
    devices: set[str]
    watched: Watched
    listed: bool = True
    values: dict[str, Value] = field(default_factory=dict)
    trends: dict[str, Trend] = field(default_factory=lambda: {vital.field: Trend() for vital in VITALS})
    no_contact_since: datetime | None = None
    changed: bool = False

    @property
    def episodes(self) -> Episodes:
        """Its alarms."""
        return self.watched.episodes

    @property
    def last_value(self) -> datetime:
        """When the latest value was measured; for a child never heard, when watching began."""
        return self.watched.latest or self.watched.since

    def note(self, reading: Reading, now: datetime) -> None:
        """Take in a reading that came just now."""
        measured = self.remember(reading, now)
        off = bool(reading.signal and reading.signal.contact is False)
        self.no_contact_since = (self.no_contact_since or measured) if off else None

    def remember(self, reading: Reading, now: datetime) -> datetime:
        """Remember the values of a reading, as far as they are newer than those known; returns its time."""
        self.devices.add(reading.device_id)
        measured = min(reading.timestamp, now)
        for vital in VITALS:
            number = reading.measurements.plausible(vital.field)
            if number is None:
                continue
            self.trends[vital.field].add(number, measured)
            known = self.values.get(vital.field)
            if known is None or known.measured <= measured:
                self.values[vital.field] = Value(number, measured)
                self.watched.latest = max(self.watched.latest or measured, measured)
        return measured


class Duty(BaseModel):
    """Who watches, since when, and what was said at the hand-over."""

    name: str
    since: UtcTime
    note: str = ""


class _Gateway(BaseModel):
    """What is kept of the gateway itself."""

    conditions: Conditions = Conditions()
    duty: Duty | None = None


class Ward:
    """All children of one gateway.

    Args:
        gateway_id: what messages about the gateway itself are about.
        names: display name of each child that is to be watched from the start, by patient.
        devices: the bracelets of the list, and the patient who wears each.
        book: where alarms survive a restart.
        conditions: which technical conditions hold, asked every second.
        now: the clock, UTC.

    Attributes:
        started: when this gateway began to run.
        callers: told of each message.
        version: grows whenever there may be something new to show.
        duty: who watches now; None where nobody has said so.
    """

    def __init__(
        self,
        gateway_id: str,
        names: Mapping[str, str],
        devices: Mapping[str, str],
        book: AlarmBook,
        conditions: Callable[[Ward, datetime], Iterable[Condition]],
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.gateway_id = gateway_id
        self._names, self._devices, self._book = names, devices, book
        self._present, self._now = conditions, now
        self.started = now()
        self._kept: dict[str, str] = {}
        self._recalled: dict[str, str] = {}
        self.children: dict[str, Child] = {}
        self.conditions = Conditions()
        self.duty: Duty | None = None
        self.standing: tuple[Condition, ...] = ()
        self.callers: list[Callable[[Message], None]] = []
        self.version = 0
        self._ticked = time.monotonic()

    async def recall(self) -> None:
        """Take up alarms where they were; before the first reading."""
        kept = await self._book.alarm_states()
        gateway = _revived(_Gateway, kept.pop(_GATEWAY, None)) or _Gateway()
        self.conditions, self.duty = gateway.conditions, gateway.duty
        self._recalled = {name.removeprefix(_CHILD): state for name, state in kept.items()}
        for patient_id in sorted(self._listed):
            self._child(patient_id)

    def observe(self, reading: Reading, alerts: Sequence[AlertRecord]) -> None:
        """Take in a reading and what the rules said of it; returns at once."""
        child = self._child(reading.patient_id)
        if child is None:
            return
        now = self._now()
        child.note(reading, now)
        notices = child.episodes.observe(reading, alerts, now)
        child.changed = child.changed or bool(alerts) or bool(child.episodes.open)
        for notice in notices:
            self._say(message.of_notice(notice, child.name))
        self.version += 1

    def recollect(self, reading: Reading) -> None:
        """Take in a reading of before the start: its values are shown, no alarm is decided by it."""
        if child := self._child(reading.patient_id):
            child.remember(reading, self._now())
            self.version += 1

    def acknowledge(
        self, patient_id: str, by: str, group: Group | None = None, silence: timedelta | None = None
    ) -> list[Group]:
        """Somebody has seen a child's alarms; returns which were open.

        Raises:
            KeyError: no such child.
        """
        child, now = self.children[patient_id], self._now()
        found = child.episodes.acknowledge(by, now, group, silence)
        child.changed = True
        self.version += 1
        log.info("%s acknowledged", ", ".join(found) or "nothing")
        return found

    def acknowledge_condition(self, key: str, by: str) -> bool:
        """Somebody has seen a technical condition; returns whether it stands."""
        self.version += 1
        return self.conditions.acknowledge(by, self._now(), key)

    def urgency(self) -> Priority | None:
        """The highest priority that stands and is not silenced; None where all is quiet."""
        now = self._now()
        active = any(
            episode.phase is Phase.ACTIVE
            for child in self.children.values()
            for episode in child.episodes.open
        )
        speaking = [each.priority for each in self.standing if self.conditions.silence(each, now) is None]
        return max([*speaking, *([Priority.HIGH] if active else [])], default=None)

    def ticks(self) -> bool:
        """Whether the last tick was a moment ago; a ward that does not tick tells nobody of anything."""
        return time.monotonic() - self._ticked < _HANGS_AFTER_S

    def take_over(self, name: str, note: str) -> None:
        """Somebody watches from now on."""
        self.duty = Duty(name=name, since=self._now(), note=note)
        self.version += 1

    def tick(self) -> None:
        """What is due because time has passed."""
        self._ticked = time.monotonic()
        now = self._now()
        for watched in self.children.values():
            for notice in watched.episodes.tick(now):
                watched.changed = True
                self._say(message.of_notice(notice, watched.name))
        self.standing = tuple(self._present(self, now))
        for condition in self.conditions.update(self.standing, now):
            child = self.children.get(condition.subject)
            of_gateway = " ".join(filter(None, [self.gateway_id, condition.subject]))
            about, patient_id = (child.name, child.patient_id) if child else (of_gateway, None)
            self._say(message.of_condition(condition, patient_id, about, now))
        self.version += 1

    async def run(self) -> None:
        """Tick, and keep what has changed, until cancelled; a disk that hangs holds no alarm up."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._keep_on(), name="keeping alarms")
            while True:
                self.tick()
                await asyncio.sleep(_EVERY_S)

    async def keep(self, *, everything: bool = True) -> None:
        """Make durable what has changed.

        Args:
            everything: also what is of little use after a restart, such as when a child was last heard.
        """
        for child in list(self.children.values()):
            if child.changed or everything:
                child.changed = False
                await self._keep(f"{_CHILD}{child.patient_id}", child.watched.model_dump_json())
        gateway = _Gateway(conditions=self.conditions, duty=self.duty)
        await self._keep(_GATEWAY, gateway.model_dump_json())

    async def _keep_on(self) -> None:
        for second in itertools.count():
            await self.keep(everything=second % _EVERYTHING_EVERY == 0)
            await asyncio.sleep(_EVERY_S)

    async def _keep(self, name: str, state: str) -> None:
        if self._kept.get(name) != state:
            await self._book.keep_alarm_state(name, state)
            self._kept[name] = state

    def _say(self, said: Message) -> None:
        level = logging.WARNING if said.priority is Priority.HIGH else logging.INFO
        log.log(level, "%s %s: people are told", said.kind, said.why)
        for call in self.callers:
            call(said)

    @property
    def _listed(self) -> set[str]:
        return {*self._names, *self._devices.values()}

    def _child(self, patient_id: str) -> Child | None:
        """A child; one who is not on the list only as far as there is room for strangers."""
        if child := self.children.get(patient_id):
            return child
        listed = patient_id in self._listed
        if not listed and len(self.children) - len(self._listed) >= _MOST_STRANGERS:
            return None
        kept = _revived(Watched, self._recalled.pop(patient_id, None))
        watched = kept or Watched(episodes=Episodes(patient_id=patient_id), since=self._now())
        devices = {device for device, patient in self._devices.items() if patient == patient_id}
        name = self._names.get(patient_id, patient_id)
        child = self.children[patient_id] = Child(patient_id, name, devices, watched, listed)
        return child


def _revived(kind: type[Model], kept: str | None) -> Model | None:
    try:
        return kind.model_validate_json(kept) if kept else None
    except ValidationError:
        log.exception("the kept state of alarms cannot be read: they begin anew")
        return None
