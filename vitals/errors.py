"""The exceptions of the shared code.

KidjamoError
 ├─ MalformedRecord      bytes that violate their Bluetooth profile
 ├─ InvalidReading       a reading that violates the contract, with the field and the reason
 ├─ InvalidPseudonymKey  a pseudonym key that is missing, too short or not hexadecimal
 └─ NotNotified          a notification could not be delivered now
"""

from __future__ import annotations


class KidjamoError(Exception):
    """Base class of the errors this project raises."""


class MalformedRecord(KidjamoError, ValueError):
    """Bytes that violate their profile.

    Attributes:
        profile: name of the profile.
        data: the bytes, for the dead letter.
        reason: what is wrong with them.
    """

    def __init__(self, profile: str, data: bytes, reason: str) -> None:
        super().__init__(f"{profile}: {reason} ({data.hex(' ') or 'no bytes'})")
        self.profile, self.data, self.reason = profile, data, reason


class InvalidReading(KidjamoError, ValueError):
    """A reading that violates the contract.

    Attributes:
        field: dotted path of the invalid field; empty when the whole document is invalid.
        reason: what is wrong; never quotes the value, which may identify a child.
    """

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"{field}: {reason}" if field else reason)
        self.field, self.reason = field, reason


class InvalidPseudonymKey(KidjamoError, ValueError):
    """A pseudonym key that is missing or too weak."""


class NotNotified(KidjamoError):
    """A notification could not be delivered to a contact or broker now; the sender may retry."""
