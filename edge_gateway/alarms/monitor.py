"""The alarm monitor: holds the state of every child, runs the timers, persists alarms, sends notifications.

`vitals.episodes` and `vitals.conditions` decide; the monitor gives them readings and the time. Neither
`observe` nor `tick` waits for the disk or the network: notifications go to queues, and a separate task saves.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Protocol, TypeVar

from pydantic import BaseModel, ValidationError

from edge_gateway.alarms.patient_state import PatientState, PersistedPatient
from vitals import message
from vitals.conditions import Condition, Conditions, Priority
from vitals.episodes import Episodes, Phase
from vitals.message import Message
from vitals.notices import Group
from vitals.reading import Reading, UtcTime
from vitals.rules import AlertRecord

log = logging.getLogger(__name__)

_TICK_S = 1.0
_SAVE_ALL_EVERY = 60
"""Ticks between two saves of everything; changed alarms are saved every tick."""
_STALLED_AFTER_S = 10.0
_MAX_UNLISTED = 200
"""Most children that are not in the configuration; bounds memory against invented patient identifiers."""
_GATEWAY_KEY, _PATIENT_PREFIX = "gateway", "child:"
Model = TypeVar("Model", bound=BaseModel)


class AlarmStore(Protocol):
    """Persistent storage of alarm state."""

    async def alarm_states(self) -> dict[str, str]:
        """Return every stored state, by name."""

    async def keep_alarm_state(self, name: str, state: str) -> None:
        """Store one state, replacing the previous one of that name."""


class DutyShift(BaseModel):
    """Who is on duty, since when, and the hand-over note."""

    name: str
    since: UtcTime
    note: str = ""


class PersistedGateway(BaseModel):
    """The part of the gateway's own alarm state that survives a restart."""

    conditions: Conditions = Conditions()
    duty: DutyShift | None = None


class AlarmMonitor:
    """All children of one gateway.

    Args:
        gateway_id: the subject of messages about the gateway itself.
        names: display name of each child, by patient.
        devices: patient of each listed bracelet.
        store: persists alarms across restarts.
        find_conditions: returns the technical conditions that hold; called on every tick.
        now: the clock, UTC.

    Attributes:
        started: when this gateway started.
        children: state of each child, by patient.
        active_conditions: technical conditions that hold, as of the last tick.
        listeners: called with each notification.
        version: incremented whenever the page may have something new to show.
        duty: the present shift; None before anyone has taken over.
    """

    def __init__(
        self,
        gateway_id: str,
        names: Mapping[str, str],
        devices: Mapping[str, str],
        store: AlarmStore,
        find_conditions: Callable[[AlarmMonitor, datetime], Iterable[Condition]],
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.gateway_id = gateway_id
        self._names, self._devices, self._store = names, devices, store
        self._find_conditions, self._now = find_conditions, now
        self.started = now()
        self._saved: dict[str, str] = {}
        self._loaded: dict[str, str] = {}
        self.children: dict[str, PatientState] = {}
        self.conditions = Conditions()
        self.duty: DutyShift | None = None
        self.active_conditions: tuple[Condition, ...] = ()
        self.listeners: list[Callable[[Message], None]] = []
        self.version = 0
        self._ticked = time.monotonic()

    async def load(self) -> None:
        """Load persisted alarms; call before the first reading."""
        states = await self._store.alarm_states()
        gateway = _parse(PersistedGateway, states.pop(_GATEWAY_KEY, None)) or PersistedGateway()
        self.conditions, self.duty = gateway.conditions, gateway.duty
        self._loaded = {name.removeprefix(_PATIENT_PREFIX): state for name, state in states.items()}
        for patient_id in sorted(self._listed):
            self._find_or_add(patient_id)

    def observe(self, reading: Reading, alerts: Sequence[AlertRecord]) -> None:
        """Process a reading and the alerts that the rules raised for it; does not block."""
        child = self._find_or_add(reading.patient_id)
        if child is None:
            return
        now = self._now()
        child.update(reading, now)
        notices = child.episodes.observe(reading, alerts, now)
        child.changed = child.changed or bool(alerts) or bool(child.episodes.open)
        for notice in notices:
            self._notify(message.of_notice(notice, child.name))
        self.version += 1

    def add_history(self, reading: Reading) -> None:
        """Show a reading from before the start; it raises and clears no alarm."""
        if child := self._find_or_add(reading.patient_id):
            child.record_values(reading, self._now())
            self.version += 1

    def acknowledge(
        self, patient_id: str, by: str, group: Group | None = None, silence: timedelta | None = None
    ) -> list[Group]:
        """Acknowledge a child's alarms, all groups unless one is given; returns the groups that were open.

        Raises:
            KeyError: no such child.
        """
        child, now = self.children[patient_id], self._now()
        acknowledged = child.episodes.acknowledge(by, now, group, silence)
        child.changed = True
        self.version += 1
        log.info("%s acknowledged", ", ".join(acknowledged) or "nothing")
        return acknowledged

    def acknowledge_condition(self, key: str, by: str) -> bool:
        """Acknowledge a technical condition; returns whether it is active."""
        self.version += 1
        return self.conditions.acknowledge(by, self._now(), key)

    def urgency(self) -> Priority | None:
        """Return the highest priority that is active and not silenced; None if there is none."""
        now = self._now()
        unacknowledged = any(
            episode.phase is Phase.ACTIVE
            for child in self.children.values()
            for episode in child.episodes.open
        )
        audible = [
            condition.priority
            for condition in self.active_conditions
            if self.conditions.silence(condition, now) is None
        ]
        return max([*audible, *([Priority.HIGH] if unacknowledged else [])], default=None)

    def is_alive(self) -> bool:
        """Return whether the last tick was recent. A stalled monitor sends no notifications."""
        return time.monotonic() - self._ticked < _STALLED_AFTER_S

    def take_over(self, name: str, note: str) -> None:
        """Start a new shift."""
        self.duty = DutyShift(name=name, since=self._now(), note=note)
        self.version += 1

    def tick(self) -> None:
        """Send what is due because time has passed: repetitions, escalations, technical conditions."""
        self._ticked = time.monotonic()
        now = self._now()
        for child in self.children.values():
            for notice in child.episodes.tick(now):
                child.changed = True
                self._notify(message.of_notice(notice, child.name))
        self.active_conditions = tuple(self._find_conditions(self, now))
        for condition in self.conditions.update(self.active_conditions, now):
            patient = self.children.get(condition.subject)
            of_gateway = " ".join(filter(None, [self.gateway_id, condition.subject]))
            about, patient_id = (patient.name, patient.patient_id) if patient else (of_gateway, None)
            self._notify(message.of_condition(condition, patient_id, about, now))
        self.version += 1

    async def run(self) -> None:
        """Tick, and save what has changed, until cancelled; a disk that hangs delays no notification."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._save_repeatedly(), name="saving alarms")
            while True:
                self.tick()
                await asyncio.sleep(_TICK_S)

    async def save(self, *, everything: bool = True) -> None:
        """Persist what has changed.

        Args:
            everything: also what matters little after a restart, such as the time of a child's last value.
        """
        for child in list(self.children.values()):
            if child.changed or everything:
                child.changed = False
                await self._save(f"{_PATIENT_PREFIX}{child.patient_id}", child.persisted.model_dump_json())
        gateway = PersistedGateway(conditions=self.conditions, duty=self.duty)
        await self._save(_GATEWAY_KEY, gateway.model_dump_json())

    async def _save_repeatedly(self) -> None:
        for number in itertools.count():
            await self.save(everything=number % _SAVE_ALL_EVERY == 0)
            await asyncio.sleep(_TICK_S)

    async def _save(self, name: str, state: str) -> None:
        if self._saved.get(name) != state:
            await self._store.keep_alarm_state(name, state)
            self._saved[name] = state

    def _notify(self, notification: Message) -> None:
        level = logging.WARNING if notification.priority is Priority.HIGH else logging.INFO
        log.log(level, "notification: %s %s", notification.kind, notification.why)
        for listener in self.listeners:
            listener(notification)

    @property
    def _listed(self) -> set[str]:
        return {*self._names, *self._devices.values()}

    def _find_or_add(self, patient_id: str) -> PatientState | None:
        """Return a child's state; None for one that is not listed when there are too many of those."""
        if child := self.children.get(patient_id):
            return child
        listed = patient_id in self._listed
        if not listed and len(self.children) - len(self._listed) >= _MAX_UNLISTED:
            return None
        persisted = _parse(PersistedPatient, self._loaded.pop(patient_id, None))
        persisted = persisted or PersistedPatient(episodes=Episodes(patient_id=patient_id), since=self._now())
        devices = {device for device, patient in self._devices.items() if patient == patient_id}
        name = self._names.get(patient_id, patient_id)
        child = self.children[patient_id] = PatientState(patient_id, name, devices, persisted, listed)
        return child


def _parse(model: type[Model], state: str | None) -> Model | None:
    try:
        return model.model_validate_json(state) if state else None
    except ValidationError:
        log.exception("persisted alarm state is invalid: starting without it")
        return None
