"""Which reason there is for a missing number, from what a gateway knows. Pure."""

from __future__ import annotations

from edge_gateway.ble.link_state import SLOTS_TAKEN, LinkState
from vitals.absence import Absence, of_disconnected
from vitals.gatt.bracelet import RecordFlag
from vitals.reading import Signal


def of_record(flags: RecordFlag) -> Absence:
    """Why a record holds no value."""
    if flags & RecordFlag.NO_CONTACT:
        return Absence.NOT_WORN
    if flags & RecordFlag.MOTION:
        return Absence.MOTION
    if flags & RecordFlag.LOW_PERFUSION:
        return Absence.LOW_PERFUSION
    return Absence.NOT_GIVEN


def of_signal(signal: Signal | None) -> Absence:
    """Why a standard device gave no value."""
    if signal and signal.contact is False:
        return Absence.NOT_WORN
    if signal and signal.motion:
        return Absence.MOTION
    if signal and signal.low_perfusion:
        return Absence.LOW_PERFUSION
    return Absence.NOT_GIVEN


def of_link(state: LinkState, reason: str, battery_pct: int | None) -> Absence | None:
    """Why nothing can come over a link; None where something can.

    Args:
        reason: why the last attempt or link ended.
        battery_pct: charge when it was last known.
    """
    if state in (LinkState.FETCHING, LinkState.LIVE):
        return None
    if state is LinkState.WAITING or reason == SLOTS_TAKEN:
        return Absence.SLOT_WAIT
    return of_disconnected(battery_pct)
