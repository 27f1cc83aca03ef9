"""Derives the technical conditions that hold now from the gateway's state. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from edge_gateway.alarms.patient_state import PatientState
from edge_gateway.state import LinkInfo
from vitals.absence import Absence
from vitals.conditions import Condition, ConditionKind, Priority, no_data
from vitals.limits import BATTERY_ALMOST_EMPTY_UP_TO_PCT, BATTERY_LOW_UP_TO_PCT

_GRACE_AFTER_START = timedelta(seconds=60)
"""Time to find bracelets after a start. After it, the time that the gateway was down counts as missing."""
_SENSOR_OFF_AFTER = timedelta(seconds=30)
_UPLINK_DOWN_AFTER = ((timedelta(minutes=30), Priority.MEDIUM), (timedelta(minutes=2), Priority.LOW))
_FILLING_FROM = ((0.9, Priority.MEDIUM), (0.7, Priority.LOW))


@dataclass(frozen=True, slots=True)
class GatewayHealth:
    """The state of what the gateway depends on.

    Attributes:
        uplink_down_since: since when nothing could be delivered; None while deliveries work.
        outbox_filled: used share of the outbox's size limit, 0 to 1.
        outbox_trouble: why the outbox cannot write; empty while it can.
        clock_synchronised: None if unknown.
        failing_contacts: names of the contacts that cannot be reached.
    """

    uplink_down_since: datetime | None = None
    outbox_filled: float = 0.0
    outbox_trouble: str = ""
    clock_synchronised: bool | None = None
    failing_contacts: tuple[str, ...] = ()


def of_child(
    child: PatientState, links: Iterable[LinkInfo], started: datetime, now: datetime
) -> Iterator[Condition]:
    """Yield the conditions that keep a child from being monitored.

    Args:
        links: links of the child's bracelets.
        started: when the gateway started.
    """
    links = list(links)
    alarm_open = bool(child.episodes.open)
    missing = no_data(child.last_value_at, now, alarm_open=alarm_open)
    if missing and now - started >= _GRACE_AFTER_START and (child.listed or alarm_open):
        yield Condition(ConditionKind.NO_DATA, missing, child.patient_id, reason(child, links))
    elif child.no_contact_since and now - child.no_contact_since >= _SENSOR_OFF_AFTER:
        yield Condition(ConditionKind.SENSOR_OFF, Priority.LOW, child.patient_id)
    charges = [link.battery_pct for link in links if link.battery_pct is not None]
    if charges and min(charges) <= BATTERY_LOW_UP_TO_PCT:
        priority = Priority.MEDIUM if min(charges) <= BATTERY_ALMOST_EMPTY_UP_TO_PCT else Priority.LOW
        yield Condition(ConditionKind.LOW_BATTERY, priority, child.patient_id)


def of_gateway(health: GatewayHealth, now: datetime) -> Iterator[Condition]:
    """Yield the conditions of the gateway itself."""
    if health.outbox_trouble:
        yield Condition(ConditionKind.OUTBOX_FAILING, Priority.HIGH)
    for share, priority in _FILLING_FROM:
        if health.outbox_filled >= share:
            yield Condition(ConditionKind.OUTBOX_FILLING, priority)
            break
    for after, priority in _UPLINK_DOWN_AFTER:
        if health.uplink_down_since and now - health.uplink_down_since >= after:
            yield Condition(ConditionKind.UPLINK_DOWN, priority)
            break
    if health.clock_synchronised is False:
        yield Condition(ConditionKind.CLOCK_UNSYNCHRONISED, Priority.LOW)
    for name in health.failing_contacts:
        yield Condition(ConditionKind.NOTIFIER_FAILING, Priority.HIGH, name)


def reason(child: PatientState, links: Iterable[LinkInfo]) -> Absence:
    """Return why there is no value from a child."""
    if child.no_contact_since:
        return Absence.NOT_WORN
    return next((link.absence for link in links if link.absence), Absence.OUT_OF_RANGE)
