"""Date Time (0x2A08) and Current Time (0x2A2B): bytes <-> value, no I/O.

Layout: Bluetooth SIG, GATT Specification Supplement, "Date Time" and "Current Time"; Current Time Service
1.1. There, a year, month or day of 0 means "not known". The profile has no time zone; this project writes and
reads UTC.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import IntFlag
from typing import Self

from vitals.errors import MalformedRecord

SERVICE = "00001805-0000-1000-8000-00805f9b34fb"
CURRENT_TIME = "00002a2b-0000-1000-8000-00805f9b34fb"
"""Read, notified and written: `CurrentTime`."""

_DATE_TIME = struct.Struct("<H5B")
_CURRENT_TIME = struct.Struct("<7s3B")
_YEARS = range(1582, 10000)


@dataclass(frozen=True, slots=True)
class DateTime:
    """Seven bytes: year u16, month, day, hours, minutes, seconds; 0 is an unknown year, month or day."""

    year: int
    month: int
    day: int
    hours: int
    minutes: int
    seconds: int

    SIZE = _DATE_TIME.size

    @classmethod
    def of(cls, moment: datetime) -> Self:
        """Return a time in UTC, without fractions of a second."""
        utc = moment.astimezone(UTC)
        return cls(utc.year, utc.month, utc.day, utc.hour, utc.minute, utc.second)

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Decode.

        Raises:
            MalformedRecord: not seven bytes, or a field out of its range.
        """
        if len(data) != _DATE_TIME.size:
            raise MalformedRecord("date time", data, f"{_DATE_TIME.size} bytes expected, {len(data)} found")
        decoded = cls(*_DATE_TIME.unpack(data))
        if problem := decoded._problem():
            raise MalformedRecord("date time", data, problem)
        return decoded

    def __bytes__(self) -> bytes:
        """Encode.

        Raises:
            ValueError: a field is out of its range.
        """
        if problem := self._problem():
            raise ValueError(f"date time: {problem}")
        return _DATE_TIME.pack(self.year, self.month, self.day, self.hours, self.minutes, self.seconds)

    def moment(self) -> datetime | None:
        """Return the time in UTC; None if year, month or day is unknown, or there is no such day."""
        try:
            return datetime(
                self.year, self.month, self.day, self.hours, self.minutes, self.seconds, tzinfo=UTC
            )
        except ValueError:
            return None

    def _problem(self) -> str:
        ranges = (
            ("year", self.year, self.year == 0 or self.year in _YEARS),
            ("month", self.month, 0 <= self.month <= 12),
            ("day", self.day, 0 <= self.day <= 31),
            ("hours", self.hours, 0 <= self.hours <= 23),
            ("minutes", self.minutes, 0 <= self.minutes <= 59),
            ("seconds", self.seconds, 0 <= self.seconds <= 59),
        )
        return "; ".join(f"{name} is {value}" for name, value, fits in ranges if not fits)


class AdjustReason(IntFlag):
    """Why a clock was changed."""

    MANUAL = 0x01
    EXTERNAL_REFERENCE = 0x02
    TIME_ZONE = 0x04
    DAYLIGHT_SAVING = 0x08


_NO_REASON = AdjustReason(0)


@dataclass(frozen=True, slots=True)
class CurrentTime:
    """Ten bytes: Date Time, day of week u8 (1 Monday … 7 Sunday, 0 not known), 1/256 s u8, reason u8."""

    date_time: DateTime
    day_of_week: int
    fractions: int
    reason: AdjustReason = _NO_REASON

    @classmethod
    def of(cls, moment: datetime, reason: AdjustReason = _NO_REASON) -> Self:
        """Return a time in UTC, rounded down to 1/256 s."""
        utc = moment.astimezone(UTC)
        return cls(DateTime.of(utc), utc.isoweekday(), utc.microsecond * 256 // 1_000_000, reason)

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Decode.

        Raises:
            MalformedRecord: not ten bytes, a field out of its range, or unknown reasons.
        """
        if len(data) != _CURRENT_TIME.size:
            raise MalformedRecord(
                "current time", data, f"{_CURRENT_TIME.size} bytes expected, {len(data)} found"
            )
        date_time, day_of_week, fractions, reason = _CURRENT_TIME.unpack(data)
        if day_of_week > 7:
            raise MalformedRecord("current time", data, f"day of week is {day_of_week}")
        if unknown := reason & ~sum(AdjustReason):
            raise MalformedRecord("current time", data, f"unknown reasons {unknown:#04x}")
        return cls(DateTime.from_bytes(date_time), day_of_week, fractions, AdjustReason(reason))

    def __bytes__(self) -> bytes:
        """Encode.

        Raises:
            ValueError: a field is out of its range.
        """
        if not 0 <= self.day_of_week <= 7 or not 0 <= self.fractions <= 255:
            raise ValueError(f"current time: day of week {self.day_of_week}, fractions {self.fractions}")
        return _CURRENT_TIME.pack(bytes(self.date_time), self.day_of_week, self.fractions, self.reason)

    def moment(self) -> datetime | None:
        """Return the time in UTC; None if it is unknown."""
        second = self.date_time.moment()
        return second + timedelta(seconds=self.fractions / 256) if second else None
