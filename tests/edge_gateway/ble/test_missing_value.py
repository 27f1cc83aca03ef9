"""Causes of radio errors, and reasons for missing values."""

from __future__ import annotations

import pytest
from bleak.exc import BleakDBusError, BleakError, BleakGATTProtocolError, BleakGATTProtocolErrorCode

from edge_gateway.ble import missing_value
from edge_gateway.ble.link_failure import SLOTS_TAKEN, FailureKind, LinkFailure, failure_of
from edge_gateway.ble.link_state import LinkState
from edge_gateway.errors import LinkLost
from vitals.absence import Absence
from vitals.gatt.bracelet import RecordFlag
from vitals.reading import Signal

PAIR = "it wants to be paired: kidjamo-gateway pair"
SILENT = LinkFailure(FailureKind.OTHER, "silent for 30 s")
STALE = "its bond is not valid any more: kidjamo-gateway forget, then pair"


@pytest.mark.parametrize(
    ("error", "kind", "text"),
    [
        (
            BleakGATTProtocolError(BleakGATTProtocolErrorCode.INSUFFICIENT_ENCRYPTION),
            FailureKind.PAIRING_NEEDED,
            PAIR,
        ),
        (
            BleakGATTProtocolError(BleakGATTProtocolErrorCode.INSUFFICIENT_AUTHENTICATION),
            FailureKind.PAIRING_NEEDED,
            PAIR,
        ),
        (
            BleakDBusError("org.bluez.Error.NotPermitted", ["Read not permitted"]),
            FailureKind.PAIRING_NEEDED,
            PAIR,
        ),
        (BleakError("HCI_Error(hci/PIN_OR_KEY_MISSING_ERROR [0x6])"), FailureKind.BOND_INVALID, STALE),
        (
            BleakDBusError("org.bluez.Error.AuthenticationFailed", ["Authentication Failed"]),
            FailureKind.BOND_INVALID,
            STALE,
        ),
        (
            BleakError("connection failed: HCI_Error(hci/CONNECTION_LIMIT_EXCEEDED_ERROR [0x9])"),
            FailureKind.SLOTS_TAKEN,
            "all links of the adapter are taken",
        ),
        (BleakError("disconnected"), FailureKind.OTHER, "disconnected"),
        (TimeoutError(), FailureKind.OTHER, "TimeoutError"),
        (LinkLost("connection slot"), FailureKind.OTHER, "connection slot"),
    ],
)
def test_failure_of_an_error(error: BaseException, kind: FailureKind, text: str) -> None:
    assert failure_of(error) == LinkFailure(kind, text)


@pytest.mark.parametrize(
    ("state", "failure", "battery_pct", "expected"),
    [
        (LinkState.LIVE, None, 50, None),
        (LinkState.FETCHING, None, 5, None),
        (LinkState.WAITING, SLOTS_TAKEN, 50, Absence.SLOT_WAIT),
        (LinkState.BACKING_OFF, SLOTS_TAKEN, 50, Absence.SLOT_WAIT),
        (LinkState.SEARCHING, None, None, Absence.OUT_OF_RANGE),
        (LinkState.SEARCHING, SILENT, 11, Absence.OUT_OF_RANGE),
        (LinkState.SEARCHING, SILENT, 10, Absence.LOW_BATTERY),
        (LinkState.CONNECTING, None, 50, Absence.OUT_OF_RANGE),
    ],
)
def test_absence_of_a_link(
    state: LinkState, failure: LinkFailure | None, battery_pct: int | None, expected: Absence | None
) -> None:
    assert missing_value.of_link(state, failure, battery_pct) is expected


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
