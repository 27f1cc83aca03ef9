"""Scenario files: what befalls which bracelet when. TOML in, a schedule out. Pure."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase
from heapq import merge
from itertools import count, takewhile
from pathlib import Path
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from firmware_sim.errors import InvalidScenario


class EventKind(StrEnum):
    """What can befall a bracelet."""

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


MEANING = {
    EventKind.LINK_LOSS: "the link is lost without a word, and the bracelet is there again at once",
    EventKind.OUT_OF_RANGE: "link lost and nothing on the air for for_s seconds; an MQTT bracelet is offline",
    EventKind.SILENT_DEATH: "nothing more comes for for_s seconds, and no disconnection tells of it",
    EventKind.SLOW_CONNECT: "for for_s seconds, each connection takes value seconds to come about",
    EventKind.REFUSE_CONNECT: "for for_s seconds, no connection comes about",
    EventKind.SLOTS_TAKEN: "for for_s seconds, the gateway's adapter holds no more than value links",
    EventKind.STALE_BOND: "the bracelet forgets whom it is bonded with",
    EventKind.REBOOT: "it restarts; flash and clock are kept",
    EventKind.RESET: "it restarts with nothing stored and numbers from 0; over Bluetooth, its clock is unset",
    EventKind.GARBAGE: "value measurements of random bytes",
    EventKind.GARBAGE_STATUS: "value status notifications of random bytes",
    EventKind.DUPLICATE: "the next value records are sent twice",
    EventKind.REORDER: "the next value records each change places with the one behind",
    EventKind.CLONE: "for for_s seconds, another device uses its name",
    EventKind.TAKEN_OFF: "not worn for for_s seconds: no values",
    EventKind.MOTION: "for for_s seconds, the child moves too much for its sensors",
    EventKind.LOW_PERFUSION: "for for_s seconds, too little blood flow under the sensor",
    EventKind.BATTERY: "its charge drops to value percent; at 0 it is off for for_s seconds, then restarts",
    EventKind.CLOCK_WRONG: "its clock is value seconds ahead (behind where negative)",
    EventKind.CLOCK_UNSET: "its clock is unset",
}
OVER_MQTT = frozenset(
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
"""Kinds that also befall a bracelet which speaks MQTT."""
_LASTING = frozenset(
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
_VALUED = frozenset(
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

HOW_TO_WRITE_ONE = """\
A scenario file is TOML, one table for each thing that happens:

    [[event]]
    kind = "out_of_range"    # one of the kinds below
    at_s = 30                # simulated seconds after the start (0)
    every_s = 30             # again and again; once where left out
    until_s = 300            # not later than this
    for_s = 5                # how long, for the kinds that last
    value = 3                # what the kind makes of it
    bracelets = ["ble-*"]    # whom; all where left out
    stagger_s = 1.5          # one bracelet after the other, so much apart (0)

""" + "\n".join(f"  {kind.value:15} {text}" for kind, text in MEANING.items())

Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Interval = Annotated[float, Field(gt=0, allow_inf_nan=False)]


@dataclass(frozen=True, slots=True, order=True)
class Occurrence:
    """One event of one bracelet.

    Attributes:
        at_s: simulated seconds after the start.
        for_s: simulated seconds it lasts, where it does.
        value: what the kind makes of it.
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
    bracelets: Annotated[tuple[str, ...], Field(min_length=1)] = ("*",)

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.kind in _LASTING and self.for_s is None:
            raise ValueError(f"{self.kind} needs for_s: {MEANING[self.kind]}")
        if self.kind in _VALUED and self.value is None:
            raise ValueError(f"{self.kind} needs value: {MEANING[self.kind]}")
        if self.kind is not EventKind.CLOCK_WRONG and self.value is not None and self.value < 0:
            raise ValueError(f"{self.kind} needs a value from 0 on: {MEANING[self.kind]}")
        if self.kind is EventKind.CLOCK_WRONG and self.value is not None and abs(self.value) > _CENTURY_S:
            raise ValueError("clock_wrong needs a value within a hundred years")
        if self.kind is EventKind.BATTERY:
            self._check_charge()
        return self

    def _check_charge(self) -> None:
        if self.value is not None and self.value > 100:
            raise ValueError("battery needs a value up to 100, in percent")
        if self.value == 0 and self.for_s is None:
            raise ValueError("battery at 0 needs for_s: how long it is off")

    def occurrences(self, device_ids: Sequence[str]) -> Iterator[Occurrence]:
        """All there are, in order of time; without end where it comes again and again.

        Raises:
            InvalidScenario: it names no bracelet of these, or one that it cannot befall.
        """
        chosen = [
            device for device in device_ids if any(fnmatchcase(device, name) for name in self.bracelets)
        ]
        if not chosen:
            raise InvalidScenario(f"{self.kind}: no bracelet is named {', '.join(self.bracelets)}")
        if self.kind not in OVER_MQTT:
            if over_mqtt := [device for device in self.bracelets if device.startswith("mqtt-")]:
                raise InvalidScenario(f"{self.kind} cannot befall {', '.join(over_mqtt)}, which speaks MQTT")
            chosen = [device for device in chosen if not device.startswith("mqtt-")]
        if self.kind is EventKind.SLOTS_TAKEN:
            chosen = chosen[:1]  # it befalls the adapter
        return merge(*(self._of(device, place) for place, device in enumerate(chosen)))

    def _of(self, device: str, place: int) -> Iterator[Occurrence]:
        first = self.at_s + place * self.stagger_s
        times: Iterator[float] = iter((first,)) if self.every_s is None else count(first, self.every_s)
        until = self.until_s
        for at_s in times if until is None else takewhile(lambda at: at < until, times):
            yield Occurrence(at_s, device, self.kind, self.for_s or 0.0, self.value or 0.0)


class FaultScenario(BaseModel):
    """A whole file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    event: Annotated[tuple[FaultEvent, ...], Field(min_length=1)]

    def occurrences(self, device_ids: Sequence[str]) -> Iterator[Occurrence]:
        """What befalls these bracelets, in order of time.

        Raises:
            InvalidScenario: an event names no bracelet of these, or one that it cannot befall.
        """
        return merge(*(event.occurrences(device_ids) for event in self.event))


def load_scenario(path: Path) -> FaultScenario:
    """Read a scenario file.

    Raises:
        InvalidScenario: it is missing or wrong; says where and why.
    """
    try:
        return FaultScenario.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidScenario(f"scenario {path}: {error}") from error
    except tomllib.TOMLDecodeError as error:
        raise InvalidScenario(f"scenario {path} is not TOML: {error}") from error
    except ValidationError as error:
        raise InvalidScenario(f"scenario {path}: {_first(error)}") from error


def _first(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_input=False)[0]
    where = [f"event {part + 1}" if isinstance(part, int) else str(part) for part in first["loc"][1:]]
    if not where:
        return "there is no [[event]] in it"
    if where[1:] == ["kind"] and first["type"] == "enum":
        return f"{where[0]}: kind must be one of {', '.join(EventKind)}"
    return ": ".join([*where, first["msg"].removeprefix("Value error, ")]) or first["msg"]
