"""Why a link could not be made or ended: a kind that code acts on, and a text for people."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

from bleak.exc import BleakDBusError, BleakError, BleakGATTProtocolError

RADIO_ERRORS = (BleakError, OSError, EOFError, TimeoutError)
"""What bleak and its backends raise when an adapter or a device fails."""


class FailureKind(Enum):
    """Causes that have a remedy of their own; OTHER is any other cause."""

    SLOTS_TAKEN = auto()
    BOND_INVALID = auto()
    PAIRING_NEEDED = auto()
    OTHER = auto()


@dataclass(frozen=True, slots=True)
class LinkFailure:
    """The end of a link or of an attempt to connect.

    Attributes:
        text: the cause and, if there is one, the remedy.
    """

    kind: FailureKind
    text: str


SLOTS_TAKEN = LinkFailure(FailureKind.SLOTS_TAKEN, "all links of the adapter are taken")
_BOND_INVALID = LinkFailure(
    FailureKind.BOND_INVALID, "its bond is not valid any more: kidjamo-gateway forget, then pair"
)
_PAIRING_NEEDED = LinkFailure(FailureKind.PAIRING_NEEDED, "it wants to be paired: kidjamo-gateway pair")

_ATT_SECURITY = frozenset({0x05, 0x08, 0x0C, 0x0E, 0x0F})
"""ATT errors for missing authentication, authorization or encryption (Core 5.4, Vol 3 Part F, 3.4.1.1)."""
_DBUS_ERRORS = {
    "org.bluez.Error.AuthenticationFailed": _BOND_INVALID,
    "org.bluez.Error.AuthenticationCanceled": _BOND_INVALID,
    "org.bluez.Error.NotPermitted": _PAIRING_NEEDED,
    "org.bluez.Error.NotAuthorized": _PAIRING_NEEDED,
}
_HCI_ERRORS = {
    "CONNECTION_LIMIT": SLOTS_TAKEN,
    "connection slot": SLOTS_TAKEN,
    "PIN_OR_KEY_MISSING": _BOND_INVALID,
    "AUTHENTICATION_FAILURE": _BOND_INVALID,
}
"""Causes that backends report only in the text of a BleakError, by a part of that text."""


def failure_of(error: BaseException) -> LinkFailure:
    """Translate an error of a link. This is the only place that reads the texts of library errors."""
    match error:
        case BleakGATTProtocolError() if error.code in _ATT_SECURITY:
            return _PAIRING_NEEDED
        case BleakDBusError() if known := _DBUS_ERRORS.get(error.dbus_error):
            return known
    text = error.args[0] if error.args and isinstance(error.args[0], str) else ""
    text = text or str(error) or type(error).__name__
    if isinstance(error, BleakError):
        for mark, failure in _HCI_ERRORS.items():
            if mark in text:
                return failure
    return LinkFailure(FailureKind.OTHER, text)
