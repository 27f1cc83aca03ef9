"""The contents of the page as plain values for its templates. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime

from edge_gateway.alarms import technical_conditions, trend
from edge_gateway.alarms.patient_state import PatientState
from edge_gateway.state import LinkInfo
from vitals.absence import Language
from vitals.conditions import Condition, Priority
from vitals.episodes import Episode, Phase, longest_silence
from vitals.limits import (
    BY_FIELD,
    HEART_RATE,
    SPO2,
    SPO2_CRITICAL_BELOW,
    VALUE_OLD_AFTER,
    VITALS,
    Vital,
    shown,
)
from vitals.notices import Group, value_text

_DRAWN = {SPO2.field: (75.0, 100.0, SPO2_CRITICAL_BELOW), HEART_RATE.field: (40.0, 190.0, None)}
"""Values at the lower and upper edge of a trend, and the value of the threshold line, if any."""


@dataclass(frozen=True, slots=True)
class ShownValue:
    """The value of one vital on a card.

    Attributes:
        number: as shown; empty if there is no value.
        at_ms: time of the measurement, milliseconds since 1970.
        old: measured longer ago than `VALUE_OLD_AFTER`.
        critical: an alarm about this vital is open.
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
    """The trend of one vital over the last hours.

    Attributes:
        threshold_y: position of the threshold line; None without one.
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
        group: the group that an acknowledgement names; empty for a condition.
        phase: the episode's phase; empty for a condition.
        minutes: silence durations to offer; empty if there is nothing to silence.
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
        """The highest priority that is active and not silenced; empty if there is none."""
        return _highest(alarm for alarm in self.alarms if alarm.phase != Phase.LATCHED)


def card(
    child: PatientState,
    links: Iterable[LinkInfo],
    conditions: Iterable[tuple[Condition, ShownAlarm]],
    language: Language,
    now: datetime,
) -> Card:
    """Return the card of one child.

    Args:
        links: links of the child's bracelets.
        conditions: all active technical conditions.
    """
    links = list(links)
    open_fields = {field for episode in child.episodes.open for field in episode.group.fields}
    values = tuple(_value(child, vital, open_fields, language, now) for vital in VITALS)
    reason = technical_conditions.reason(child, links) if all(value.old for value in values) else None
    charges = [link.battery_pct for link in links if link.battery_pct is not None]
    alarms = [alarm(episode, language, now) for episode in child.episodes.open]
    return Card(
        child.patient_id,
        child.name,
        values,
        reason.text(language) if reason else "",
        min(charges) if charges else None,
        tuple(_trends(child, language, now)),
        (*alarms, *(shown for condition, shown in conditions if condition.subject == child.patient_id)),
    )


def alarm(episode: Episode, language: Language, now: datetime) -> ShownAlarm:
    """Return an open episode as it is shown."""
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
    audible = [Priority[alarm.priority] for alarm in alarms if not alarm.silent_by]
    return max(audible).name if audible else ""


def parse_group(text: object) -> Group | None:
    """Return the group of a request; None, for all groups, if it is empty.

    Raises:
        ValueError: there is no such group.
    """
    return Group(str(text)) if text else None


def _value(
    child: PatientState, vital: Vital, critical: set[str], language: Language, now: datetime
) -> ShownValue:
    latest = child.values.get(vital.field)
    number = shown(vital.field, latest.number, vital.digits) if latest else ""
    return ShownValue(
        vital.field,
        _label(vital, language),
        vital.name_fr if language == "fr" else vital.name_en,
        vital.unit_shown,
        number.replace(".", ",") if language == "fr" else number,
        _ms(latest.measured) if latest else 0,
        latest is None or now - latest.measured > VALUE_OLD_AFTER,
        vital.field in critical,
    )


def _label(vital: Vital, language: Language) -> str:
    return vital.label_fr if language == "fr" else vital.label_en


def _trends(child: PatientState, language: Language, now: datetime) -> Iterator[ShownTrend]:
    for field, (bottom, top, threshold) in _DRAWN.items():
        child_trend = child.trends[field]
        value_range = child_trend.range(now)
        if value_range is None:
            continue
        low, high = (f"{value:.0f}" for value in value_range)
        y = trend.HEIGHT * (1 - (threshold - bottom) / (top - bottom)) if threshold else None
        paths = tuple(child_trend.paths(now, bottom, top))
        yield ShownTrend(_label(BY_FIELD[field], language), paths, y, low, high)


def _ms(at: datetime) -> int:
    return round(at.timestamp() * 1000)
