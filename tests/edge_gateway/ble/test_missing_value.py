"""What errors of the radio mean to a person, and which reason there is for a missing number."""

from __future__ import annotations

import pytest
from bleak.exc import BleakDBusError, BleakError, BleakGATTProtocolError, BleakGATTProtocolErrorCode

from edge_gateway.ble import missing_value
from edge_gateway.ble.adapter import reason_of
from edge_gateway.ble.link_state import SLOTS_TAKEN, LinkState
from vitals.absence import Absence
from vitals.gatt.bracelet import RecordFlag
from vitals.reading import Signal

PAIR = "it wants to be paired: kidjamo-gateway pair"
STALE = "its bond is not valid any more: kidjamo-gateway forget, then pair"


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (BleakGATTProtocolError(BleakGATTProtocolErrorCode.INSUFFICIENT_ENCRYPTION), PAIR),
        (BleakGATTProtocolError(BleakGATTProtocolErrorCode.INSUFFICIENT_AUTHENTICATION), PAIR),
        (BleakDBusError("org.bluez.Error.NotPermitted", ["Read not permitted"]), PAIR),
        (BleakError("HCI_Error(hci/PIN_OR_KEY_MISSING_ERROR [0x6])"), STALE),
        (BleakDBusError("org.bluez.Error.AuthenticationFailed", ["Authentication Failed"]), STALE),
        (BleakError("connection failed: HCI_Error(hci/CONNECTION_LIMIT_EXCEEDED_ERROR [0x9])"), SLOTS_TAKEN),
        (BleakError("disconnected"), "disconnected"),
        (TimeoutError(), "TimeoutError"),
    ],
)
def test_reason_of_an_error(error: BaseException, reason: str) -> None:
    assert reason_of(error) == reason


@pytest.mark.parametrize(
    ("state", "reason", "battery_pct", "expected"),
    [
        (LinkState.LIVE, "", 50, None),
        (LinkState.FETCHING, "", 5, None),
        (LinkState.WAITING, "", 50, Absence.SLOT_WAIT),
        (LinkState.BACKING_OFF, SLOTS_TAKEN, 50, Absence.SLOT_WAIT),
        (LinkState.SEARCHING, "", None, Absence.OUT_OF_RANGE),
        (LinkState.SEARCHING, "silent for 30 s", 11, Absence.OUT_OF_RANGE),
        (LinkState.SEARCHING, "silent for 30 s", 10, Absence.LOW_BATTERY),
        (LinkState.CONNECTING, "", 50, Absence.OUT_OF_RANGE),
    ],
)
def test_absence_of_a_link(
    state: LinkState, reason: str, battery_pct: int | None, expected: Absence | None
) -> None:
    assert missing_value.of_link(state, reason, battery_pct) is expected


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (RecordFlag.NO_CONTACT | RecordFlag.MOTION | RecordFlag.LOW_PERFUSION, Absence.NOT_WORN),
        (RecordFlag.MOTION | RecordFlag.LOW_PERFUSION, Absence.MOTION),
        (RecordFlag.LOW_PERFUSION | RecordFlag.CLOCK_SET, Absence.LOW_PERFUSION),
        (RecordFlag.CLOCK_SET, Absence.NOT_GIVEN),
    ],
)
def test_absence_in_a_record(flags: RecordFlag, expected: Absence) -> None:
    assert missing_value.of_record(flags) is expected


@pytest.mark.parametrize(
    ("signal", "expected"),
    [
        (Signal(contact=False, motion=True), Absence.NOT_WORN),
        (Signal(contact=True, motion=True), Absence.MOTION),
        (Signal(low_perfusion=True), Absence.LOW_PERFUSION),
        (Signal(), Absence.NOT_GIVEN),
        (None, Absence.NOT_GIVEN),
    ],
)
def test_absence_in_a_standard_measurement(signal: Signal | None, expected: Absence) -> None:
    assert missing_value.of_signal(signal) is expected
