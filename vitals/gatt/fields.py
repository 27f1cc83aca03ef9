"""Sequential reading and writing of the optional fields of standard measurements. No I/O."""

from __future__ import annotations

import math

from vitals.errors import MalformedRecord
from vitals.gatt.current_time import DateTime
from vitals.gatt.ieee11073 import decode_float, decode_sfloat, encode_float, encode_sfloat


class Fields:
    """Reader of the fields of one measurement.

    Args:
        profile: name for error messages.
    """

    def __init__(self, profile: str, data: bytes) -> None:
        self._profile, self._data, self._at = profile, data, 0

    def take(self, size: int) -> bytes:
        """Read that many bytes.

        Raises:
            MalformedRecord: fewer bytes are left.
        """
        taken = self._data[self._at : self._at + size]
        if len(taken) < size:
            raise MalformedRecord(
                self._profile, self._data, f"{len(self._data)} bytes are too few for its flags"
            )
        self._at += size
        return taken

    def unsigned(self, size: int) -> int:
        """Read a little-endian unsigned number."""
        return int.from_bytes(self.take(size), "little")

    def sfloat(self) -> float | None:
        """Read an SFLOAT; return None for a special value that is not a number."""
        return _number(decode_sfloat(self.take(2)))

    def float(self) -> float | None:
        """Read a FLOAT; return None for a special value that is not a number."""
        return _number(decode_float(self.take(4)))

    def date_time(self) -> DateTime | None:
        """Read a date and time; return None if it is out of range: the measurement is still valid."""
        taken = self.take(DateTime.SIZE)
        try:
            return DateTime.from_bytes(taken)
        except MalformedRecord:
            return None

    def end(self) -> None:
        """Check that everything was read.

        Raises:
            MalformedRecord: bytes are left.
        """
        if extra := len(self._data) - self._at:
            raise MalformedRecord(self._profile, self._data, f"{extra} bytes too many for its flags")


def sfloat(value: float | None) -> bytes:
    """Encode a number as SFLOAT, None as NaN."""
    return encode_sfloat(math.nan if value is None else value)


def float32(value: float | None) -> bytes:
    """Encode a number as FLOAT, None as NaN."""
    return encode_float(math.nan if value is None else value)


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None
