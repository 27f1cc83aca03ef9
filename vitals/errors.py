"""Everything that can be wrong with what reaches us.

KidjamoError
 ├─ MalformedRecord      bytes that do not follow their Bluetooth profile
 ├─ InvalidReading       a reading that breaks the contract, with the field and the reason
 ├─ InvalidPseudonymKey  a key that is missing, too short or not hexadecimal
 └─ NotNotified          somebody could not be told now
"""

from __future__ import annotations


class KidjamoError(Exception):
    """Root of the errors this project raises on purpose."""


class MalformedRecord(KidjamoError, ValueError):
    """Bytes that do not follow their profile; keeps them for the dead letter."""

    def __init__(self, profile: str, data: bytes, reason: str) -> None:
        super().__init__(f"{profile}: {reason} ({data.hex(' ') or 'no bytes'})")
        self.profile, self.data, self.reason = profile, data, reason


class InvalidReading(KidjamoError, ValueError):
    """A reading that breaks the contract.

    Attributes:
        field: dotted path of the offending field, empty when the whole document is at fault.
        reason: what is wrong, for a person to read; never quotes the value, which may identify a child.
    """

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"{field}: {reason}" if field else reason)
        self.field, self.reason = field, reason


class InvalidPseudonymKey(KidjamoError, ValueError):
    """A pseudonym key that cannot protect anyone."""


class NotNotified(KidjamoError):
    """Something could not be passed on to a person or a broker now."""
