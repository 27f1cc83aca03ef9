"""Which technical conditions hold now, from what the gateway knows. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from edge_gateway.alarms.monitor import Child
from edge_gateway.state import LinkInfo
from vitals.absence import Absence
from vitals.conditions import OLD_AFTER, Condition, ConditionKind, Priority, no_data
from vitals.limits import BATTERY_LOW_UP_TO_PCT

__all__ = ["OLD_AFTER", "Parts", "of_child", "of_gateway", "reason"]

_NEARLY_EMPTY_PCT = 5
_AFTER_START = timedelta(seconds=60)
"""Bracelets need some time to be found again; then the time without the gateway counts, too."""
_SENSOR_OFF_AFTER = timedelta(seconds=30)
_UPLINK_DOWN_AFTER = ((timedelta(minutes=30), Priority.MEDIUM), (timedelta(minutes=2), Priority.LOW))
_FILLING_FROM = ((0.9, Priority.MEDIUM), (0.7, Priority.LOW))


@dataclass(frozen=True, slots=True)
class Parts:
    """How the gateway's own parts are.

    Attributes:
        uplink_down_since: since when nothing could be delivered; None while it can.
        outbox_filled: share of the outbox's bound that is used, 0 to 1.
        outbox_trouble: why nothing can be made durable; empty while it can.
        clock_synchronised: None where nobody knows.
        failing: contacts that cannot be reached.
    """

    uplink_down_since: datetime | None = None
    outbox_filled: float = 0.0
    outbox_trouble: str = ""
    clock_synchronised: bool | None = None
    failing: tuple[str, ...] = ()


def of_child(
    child: Child, links: Iterable[LinkInfo], started: datetime, now: datetime
) -> Iterator[Condition]:
    """What keeps a child from being watched.

    Args:
        links: of the bracelets it wears.
        started: when the gateway did.
    """
    known = list(links)
    alarm_open = bool(child.episodes.open)
    missing = no_data(child.last_value, now, alarm_open=alarm_open)
    if missing and now - started >= _AFTER_START and (child.listed or alarm_open):
        yield Condition(ConditionKind.NO_DATA, missing, child.patient_id, reason(child, known))
    elif child.no_contact_since and now - child.no_contact_since >= _SENSOR_OFF_AFTER:
        yield Condition(ConditionKind.SENSOR_OFF, Priority.LOW, child.patient_id)
    charges = [link.battery_pct for link in known if link.battery_pct is not None]
    if charges and min(charges) <= BATTERY_LOW_UP_TO_PCT:
        priority = Priority.MEDIUM if min(charges) <= _NEARLY_EMPTY_PCT else Priority.LOW
        yield Condition(ConditionKind.LOW_BATTERY, priority, child.patient_id)


def of_gateway(parts: Parts, now: datetime) -> Iterator[Condition]:
    """What is wrong with the gateway itself."""
    if parts.outbox_trouble:
        yield Condition(ConditionKind.OUTBOX_FAILING, Priority.HIGH)
    for share, priority in _FILLING_FROM:
        if parts.outbox_filled >= share:
            yield Condition(ConditionKind.OUTBOX_FILLING, priority)
            break
    for after, priority in _UPLINK_DOWN_AFTER:
        if parts.uplink_down_since and now - parts.uplink_down_since >= after:
            yield Condition(ConditionKind.UPLINK_DOWN, priority)
            break
    if parts.clock_synchronised is False:
        yield Condition(ConditionKind.CLOCK_UNSYNCHRONISED, Priority.LOW)
    for name in parts.failing:
        yield Condition(ConditionKind.NOTIFIER_FAILING, Priority.HIGH, name)


def reason(child: Child, links: Iterable[LinkInfo]) -> Absence | None:
    """Why there is no number from a child; None where nobody knows."""
    if child.no_contact_since:
        return Absence.NOT_WORN
    reasons = [link.absence for link in links if link.absence]
    return reasons[0] if reasons else Absence.OUT_OF_RANGE
