"""What the page shows, as plain values for its templates. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime

from edge_gateway.alarms import technical_conditions, trend
from edge_gateway.alarms.monitor import Child
from edge_gateway.state import LinkInfo
from vitals.absence import Language
from vitals.conditions import Condition, Priority
from vitals.episodes import Episode, Phase, longest_silence
from vitals.limits import BY_FIELD, HEART_RATE, SPO2, SPO2_CRITICAL_BELOW, VITALS, Vital, shown
from vitals.notices import Group, value_text

_DRAWN = {SPO2.field: (75.0, 100.0, SPO2_CRITICAL_BELOW), HEART_RATE.field: (40.0, 190.0, None)}
"""Values at the lower and upper edge of a drawing, and where a line tells the threshold."""


@dataclass(frozen=True, slots=True)
class ShownValue:
    """The value of one vital on a card.

    Attributes:
        number: as shown; empty where there is none.
        at_ms: when it was measured, milliseconds since 1970.
        old: not from the last half minute.
        critical: an alarm about it stands.
    """

    field: str
    label: str
    name: str
    unit: str
    number: str
    at_ms: int
    old: bool
    critical: bool


@dataclass(frozen=True, slots=True)
class ShownTrend:
    """A drawing of the last hours.

    Attributes:
        threshold_y: where the line of the threshold lies; None where there is none.
    """

    label: str
    paths: tuple[str, ...]
    threshold_y: float | None
    low: str
    high: str


@dataclass(frozen=True, slots=True)
class ShownAlarm:
    """An open alarm, or a technical condition, of a child or of the gateway.

    Attributes:
        group: what an acknowledgement is about; empty for a condition.
        phase: name of the episode's phase; empty for a condition.
        minutes: how long an acknowledgement may silence it; none where there is nothing to silence.
    """

    key: str
    group: str
    text: str
    phase: str
    priority: str
    since_ms: int
    minutes: tuple[int, ...]
    silent_by: str = ""
    silent_until_ms: int = 0


@dataclass(frozen=True, slots=True)
class Card:
    """One child."""

    patient_id: str
    name: str
    values: tuple[ShownValue, ...]
    reason: str
    battery_pct: int | None
    trends: tuple[ShownTrend, ...]
    alarms: tuple[ShownAlarm, ...]

    @property
    def urgency(self) -> str:
        """The highest priority that stands and is not silenced; empty where all is quiet."""
        return _highest(alarm for alarm in self.alarms if alarm.phase != Phase.LATCHED)


def card(
    child: Child,
    links: Iterable[LinkInfo],
    standing: Iterable[tuple[Condition, ShownAlarm]],
    language: Language,
    now: datetime,
) -> Card:
    """What there is to see of one child.

    Args:
        links: of the bracelets it wears.
        standing: its technical conditions.
    """
    known = list(links)
    open_fields = {field for episode in child.episodes.open for field in episode.group.fields}
    values = tuple(_value(child, vital, open_fields, language, now) for vital in VITALS)
    reason = technical_conditions.reason(child, known) if all(value.old for value in values) else None
    charges = [link.battery_pct for link in known if link.battery_pct is not None]
    alarms = [alarm(episode, language, now) for episode in child.episodes.open]
    return Card(
        child.patient_id,
        child.name,
        values,
        reason.text(language) if reason else "",
        min(charges) if charges else None,
        tuple(_trends(child, language, now)),
        (*alarms, *(shown for condition, shown in standing if condition.subject == child.patient_id)),
    )


def alarm(episode: Episode, language: Language, now: datetime) -> ShownAlarm:
    """What there is to see of an open episode."""
    worst = ", ".join(value_text(field, value, language) for field, value in episode.worst_values.items())
    silence = episode.silence if episode.is_silent(now) else None
    longest = int(longest_silence(episode.group).total_seconds() // 60)
    return ShownAlarm(
        key=episode.group.value,
        group=episode.group.value,
        text=f"{episode.group.text(language)} · {worst}",
        phase=episode.phase.value,
        priority=Priority.HIGH.name,
        since_ms=_ms(episode.since or now),
        minutes=() if episode.phase is Phase.LATCHED else (2, longest),
        silent_by=silence.by if silence else "",
        silent_until_ms=_ms(silence.until) if silence else 0,
    )


def _highest(alarms: Iterable[ShownAlarm]) -> str:
    speaking = [Priority[alarm.priority] for alarm in alarms if not alarm.silent_by]
    return max(speaking).name if speaking else ""


def parse_group(text: object) -> Group | None:
    """The group of alarms that somebody named; None for all of them.

    Raises:
        ValueError: there is no such group.
    """
    return Group(str(text)) if text else None


def _value(child: Child, vital: Vital, critical: set[str], language: Language, now: datetime) -> ShownValue:
    known = child.values.get(vital.field)
    number = shown(vital.field, known.number, vital.digits) if known else ""
    return ShownValue(
        vital.field,
        _label(vital, language),
        vital.name_fr if language == "fr" else vital.name_en,
        vital.unit_shown,
        number.replace(".", ",") if language == "fr" else number,
        _ms(known.measured) if known else 0,
        known is None or now - known.measured > technical_conditions.OLD_AFTER,
        vital.field in critical,
    )


def _label(vital: Vital, language: Language) -> str:
    return vital.label_fr if language == "fr" else vital.label_en


def _trends(child: Child, language: Language, now: datetime) -> Iterator[ShownTrend]:
    for field, (bottom, top, threshold) in _DRAWN.items():
        drawn = child.trends[field]
        seen = drawn.range(now)
        if seen is None:
            continue
        low, high = (f"{value:.0f}" for value in seen)
        y = trend.HEIGHT * (1 - (threshold - bottom) / (top - bottom)) if threshold else None
        paths = tuple(drawn.paths(now, bottom, top))
        yield ShownTrend(_label(BY_FIELD[field], language), paths, y, low, high)


def _ms(at: datetime) -> int:
    return round(at.timestamp() * 1000)
