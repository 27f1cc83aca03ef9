"""Reads the optional fields of a standard measurement one after the other. No I/O."""

from __future__ import annotations

import math

from vitals.errors import MalformedRecord
from vitals.gatt.current_time import DateTime
from vitals.gatt.ieee11073 import decode_float, decode_sfloat, encode_float, encode_sfloat


class Fields:
    """The bytes of one measurement and how far they are read.

    Args:
        profile: for errors.
    """

    def __init__(self, profile: str, data: bytes) -> None:
        self._profile, self._data, self._at = profile, data, 0

    def take(self, size: int) -> bytes:
        """The next bytes.

        Raises:
            MalformedRecord: there are not so many.
        """
        taken = self._data[self._at : self._at + size]
        if len(taken) < size:
            raise MalformedRecord(
                self._profile, self._data, f"{len(self._data)} bytes are too few for its flags"
            )
        self._at += size
        return taken

    def unsigned(self, size: int) -> int:
        """The next little-endian number."""
        return int.from_bytes(self.take(size), "little")

    def sfloat(self) -> float | None:
        """The next SFLOAT; None where it says that there is no number."""
        return _number(decode_sfloat(self.take(2)))

    def float(self) -> float | None:
        """The next FLOAT; None where it says that there is no number."""
        return _number(decode_float(self.take(4)))

    def date_time(self) -> DateTime | None:
        """The next date and time; None where there is no such moment: the value beside it still counts."""
        taken = self.take(DateTime.SIZE)
        try:
            return DateTime.from_bytes(taken)
        except MalformedRecord:
            return None

    def end(self) -> None:
        """All must be read.

        Raises:
            MalformedRecord: something is left.
        """
        if left := len(self._data) - self._at:
            raise MalformedRecord(self._profile, self._data, f"{left} bytes too many for its flags")


def sfloat(value: float | None) -> bytes:
    """A number as SFLOAT; NaN where there is none."""
    return encode_sfloat(math.nan if value is None else value)


def float32(value: float | None) -> bytes:
    """A number as FLOAT; NaN where there is none."""
    return encode_float(math.nan if value is None else value)


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None
