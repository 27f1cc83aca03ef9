"""Scenario files: which fault is injected into which bracelet, and when. Parsed from TOML. Pure."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase
from heapq import merge
from itertools import count, takewhile
from pathlib import Path
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from firmware_sim.errors import InvalidScenario


class Transport(StrEnum):
    """How a bracelet sends its readings."""

    BLE = "ble"
    MQTT = "mqtt"


class EventKind(StrEnum):
    """Kinds of events."""

    LINK_LOSS = "link_loss"
    OUT_OF_RANGE = "out_of_range"
    SILENT_DEATH = "silent_death"
    SLOW_CONNECT = "slow_connect"
    REFUSE_CONNECT = "refuse_connect"
    SLOTS_TAKEN = "slots_taken"
    STALE_BOND = "stale_bond"
    REBOOT = "reboot"
    RESET = "reset"
    GARBAGE = "garbage"
    GARBAGE_STATUS = "garbage_status"
    DUPLICATE = "duplicate"
    REORDER = "reorder"
    CLONE = "clone"
    TAKEN_OFF = "taken_off"
    MOTION = "motion"
    LOW_PERFUSION = "low_perfusion"
    BATTERY = "battery"
    CLOCK_WRONG = "clock_wrong"
    CLOCK_UNSET = "clock_unset"


DESCRIPTIONS = {
    EventKind.LINK_LOSS: "the link is lost without a disconnection; the bracelet advertises again at once",
    EventKind.OUT_OF_RANGE: "link lost and bracelet out of range (MQTT: offline) for for_s seconds",
    EventKind.SILENT_DEATH: "the bracelet is silent for for_s seconds, without a disconnection",
    EventKind.SLOW_CONNECT: "for for_s seconds, each connection takes value seconds to be established",
    EventKind.REFUSE_CONNECT: "for for_s seconds, no connection can be established",
    EventKind.SLOTS_TAKEN: "for for_s seconds, the gateway's adapter allows at most value links",
    EventKind.STALE_BOND: "the bracelet deletes its bonds",
    EventKind.REBOOT: "the bracelet restarts; flash and clock are kept",
    EventKind.RESET: "the bracelet restarts with empty flash, numbers from 0 and, over BLE, an unset clock",
    EventKind.GARBAGE: "the bracelet sends value measurements of random bytes",
    EventKind.GARBAGE_STATUS: "the bracelet sends value status notifications of random bytes",
    EventKind.DUPLICATE: "the next value records are sent twice",
    EventKind.REORDER: "the next value records are each swapped with the following one",
    EventKind.CLONE: "for for_s seconds, another device advertises the bracelet's name",
    EventKind.TAKEN_OFF: "the bracelet is not worn for for_s seconds and measures no values",
    EventKind.MOTION: "for for_s seconds, motion disturbs the sensors",
    EventKind.LOW_PERFUSION: "for for_s seconds, there is too little blood flow under the sensor",
    EventKind.BATTERY: "the charge drops to value percent; at 0 it is off for for_s seconds, then restarts",
    EventKind.CLOCK_WRONG: "the clock is set value seconds ahead (behind if negative)",
    EventKind.CLOCK_UNSET: "the clock is unset",
}
MQTT_KINDS = frozenset(
    {
        EventKind.OUT_OF_RANGE,
        EventKind.REBOOT,
        EventKind.RESET,
        EventKind.GARBAGE,
        EventKind.DUPLICATE,
        EventKind.REORDER,
        EventKind.TAKEN_OFF,
        EventKind.MOTION,
        EventKind.LOW_PERFUSION,
        EventKind.BATTERY,
        EventKind.CLOCK_WRONG,
        EventKind.CLOCK_UNSET,
    }
)
"""Kinds that can be injected into MQTT bracelets."""
_NEEDS_DURATION = frozenset(
    {
        EventKind.OUT_OF_RANGE,
        EventKind.SILENT_DEATH,
        EventKind.SLOW_CONNECT,
        EventKind.REFUSE_CONNECT,
        EventKind.SLOTS_TAKEN,
        EventKind.CLONE,
        EventKind.TAKEN_OFF,
        EventKind.MOTION,
        EventKind.LOW_PERFUSION,
    }
)
_NEEDS_VALUE = frozenset(
    {
        EventKind.SLOW_CONNECT,
        EventKind.SLOTS_TAKEN,
        EventKind.GARBAGE,
        EventKind.GARBAGE_STATUS,
        EventKind.DUPLICATE,
        EventKind.REORDER,
        EventKind.BATTERY,
        EventKind.CLOCK_WRONG,
    }
)
_CENTURY_S = 100 * 366 * 24 * 3600

FILE_FORMAT_HELP = """\
A scenario file is TOML with one table per event:

    [[event]]
    kind = "out_of_range"    # one of the kinds below
    at_s = 30                # simulated seconds after the start (default 0)
    every_s = 30             # repeat at this interval (default: once)
    until_s = 300            # do not repeat after this time
    for_s = 5                # duration, for kinds that last
    value = 3                # meaning depends on the kind
    bracelets = ["ble-*"]    # bracelets to inject it into (default: all)
    stagger_s = 1.5          # delay from one bracelet to the next (default 0)

""" + "\n".join(f"  {kind.value:15} {text}" for kind, text in DESCRIPTIONS.items())

Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Interval = Annotated[float, Field(gt=0, allow_inf_nan=False)]


@dataclass(frozen=True, slots=True, order=True)
class Occurrence:
    """One event of one bracelet.

    Attributes:
        at_s: simulated seconds after the start.
        device_id: the bracelet.
        kind: kind of the event.
        for_s: duration in simulated seconds, for kinds that last.
        value: its meaning depends on the kind.
    """

    at_s: float
    device_id: str
    kind: EventKind
    for_s: float = 0.0
    value: float = 0.0


class FaultEvent(BaseModel):
    """One `[[event]]` table."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: EventKind
    at_s: Seconds = 0.0
    every_s: Interval | None = None
    until_s: Interval | None = None
    for_s: Interval | None = None
    stagger_s: Seconds = 0.0
    value: Annotated[float, Field(allow_inf_nan=False)] | None = None
    bracelets: Annotated[tuple[str, ...], Field(min_length=1)] | None = None

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.kind in _NEEDS_DURATION and self.for_s is None:
            raise ValueError(f"{self.kind} needs for_s: {DESCRIPTIONS[self.kind]}")
        if self.kind in _NEEDS_VALUE and self.value is None:
            raise ValueError(f"{self.kind} needs value: {DESCRIPTIONS[self.kind]}")
        if self.kind is not EventKind.CLOCK_WRONG and self.value is not None and self.value < 0:
            raise ValueError(f"{self.kind} needs a value of 0 or more: {DESCRIPTIONS[self.kind]}")
        if self.kind is EventKind.CLOCK_WRONG and self.value is not None and abs(self.value) > _CENTURY_S:
            raise ValueError("clock_wrong needs a value within 100 years")
        if self.kind is EventKind.BATTERY:
            self._check_charge()
        return self

    def _check_charge(self) -> None:
        if self.value is not None and self.value > 100:
            raise ValueError("battery needs a value of at most 100, in percent")
        if self.value == 0 and self.for_s is None:
            raise ValueError("battery at 0 needs for_s: how long the bracelet is off")

    def occurrences(self, bracelets: Mapping[str, Transport]) -> Iterator[Occurrence]:
        """Return its occurrences in order of time; without end if it repeats without `until_s`.

        Args:
            bracelets: transport of each bracelet, by device id.

        Raises:
            InvalidScenario: no bracelet matches, or the event cannot be injected into one it names.
        """
        chosen = [device for pattern in self.bracelets or ("*",) for device in _matching(bracelets, pattern)]
        if not chosen:
            raise InvalidScenario(f"{self.kind}: no bracelet matches {', '.join(self.bracelets or ())}")
        suitable = [device for device in bracelets if device in chosen and self._suits(bracelets[device])]
        for pattern in self.bracelets or ():
            named = _matching(bracelets, pattern)
            if named and not any(self._suits(bracelets[device]) for device in named):
                raise InvalidScenario(
                    f"{self.kind} cannot be injected into MQTT bracelets: {', '.join(named)}"
                )
        if self.kind is EventKind.SLOTS_TAKEN:
            suitable = suitable[:1]  # it affects the adapter, not a bracelet
        return merge(*(self._of(device, place) for place, device in enumerate(suitable)))

    def _suits(self, transport: Transport) -> bool:
        return transport is Transport.BLE or self.kind in MQTT_KINDS

    def _of(self, device: str, place: int) -> Iterator[Occurrence]:
        first = self.at_s + place * self.stagger_s
        times: Iterator[float] = iter((first,)) if self.every_s is None else count(first, self.every_s)
        until = self.until_s
        for at_s in times if until is None else takewhile(lambda at: at < until, times):
            yield Occurrence(at_s, device, self.kind, self.for_s or 0.0, self.value or 0.0)


class FaultScenario(BaseModel):
    """A scenario file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    event: Annotated[tuple[FaultEvent, ...], Field(min_length=1)]

    def occurrences(self, bracelets: Mapping[str, Transport]) -> Iterator[Occurrence]:
        """Return the occurrences of all events in order of time.

        Args:
            bracelets: transport of each bracelet, by device id.

        Raises:
            InvalidScenario: an event matches no bracelet, or cannot be injected into one it names.
        """
        return merge(*(event.occurrences(bracelets) for event in self.event))


def load_scenario(path: Path) -> FaultScenario:
    """Read a scenario file.

    Raises:
        InvalidScenario: the file is missing or malformed; the message says where and why.
    """
    try:
        return FaultScenario.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidScenario(f"scenario {path}: {error}") from error
    except tomllib.TOMLDecodeError as error:
        raise InvalidScenario(f"scenario {path} is not TOML: {error}") from error
    except ValidationError as error:
        raise InvalidScenario(f"scenario {path}: {_first(error)}") from error


def _matching(device_ids: Iterable[str], pattern: str) -> list[str]:
    return [device for device in device_ids if fnmatchcase(device, pattern)]


def _first(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_input=False)[0]
    where = [f"event {part + 1}" if isinstance(part, int) else str(part) for part in first["loc"][1:]]
    if not where:
        return "it has no [[event]] table"
    if where[1:] == ["kind"] and first["type"] == "enum":
        return f"{where[0]}: kind must be one of {', '.join(EventKind)}"
    return ": ".join([*where, first["msg"].removeprefix("Value error, ")]) or first["msg"]
