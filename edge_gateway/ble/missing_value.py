"""The reason for a missing value, from what the gateway knows. No I/O."""

from __future__ import annotations

from edge_gateway.ble.link_failure import FailureKind, LinkFailure
from edge_gateway.ble.link_state import LinkState
from vitals.absence import Absence, of_disconnected
from vitals.gatt.bracelet import RecordFlag
from vitals.reading import Signal


def of_record(flags: RecordFlag) -> Absence:
    """Return why a bracelet's record holds no value."""
    if flags & RecordFlag.NO_CONTACT:
        return Absence.NOT_WORN
    if flags & RecordFlag.MOTION:
        return Absence.MOTION
    if flags & RecordFlag.LOW_PERFUSION:
        return Absence.LOW_PERFUSION
    return Absence.NOT_GIVEN


def of_signal(signal: Signal | None) -> Absence:
    """Return why a standard device sent no value."""
    if signal and signal.contact is False:
        return Absence.NOT_WORN
    if signal and signal.motion:
        return Absence.MOTION
    if signal and signal.low_perfusion:
        return Absence.LOW_PERFUSION
    return Absence.NOT_GIVEN


def of_link(state: LinkState, failure: LinkFailure | None, battery_pct: int | None) -> Absence | None:
    """Return why a link delivers no values; None if it can.

    Args:
        failure: why the last attempt or link ended.
        battery_pct: the last known charge.
    """
    if state in (LinkState.FETCHING, LinkState.LIVE):
        return None
    if failure and failure.kind is FailureKind.SLOTS_TAKEN:
        return Absence.SLOT_WAIT
    return of_disconnected(battery_pct)
