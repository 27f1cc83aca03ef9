"""The bracelet's own service: what standard profiles cannot carry together. Bytes <-> values, no I/O.

A record is 20 bytes, so that it fits one notification at the smallest MTU (23). All fields are little-endian:

    offset  size  field        meaning
    0       4     seq          u32, counts records since `boot`
    4       6     device_time  u48, ms of the bracelet's clock; since 1970 UTC once set, since restart before
    10      1     flags        u8, `RecordFlag`
    11      1     boot         u8, restart counter
    12      2     spo2_pct     i16, hundredths of %
    14      2     freq_card    i16, hundredths of /min
    16      2     freq_resp    i16, hundredths of /min
    18      2     temp_corp    i16, hundredths of °C

A vital that was not measured is 0x8000. Hundredths rather than SFLOAT: with three digits SFLOAT
reads 37.96 °C as 38.0, which is an alarm.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntFlag
from typing import Self

from vitals.errors import MalformedRecord
from vitals.limits import VITALS
from vitals.reading import Measurements

SERVICE = "6b69646a-616d-4f00-8000-000000000001"
LIVE_RECORD = "6b69646a-616d-4f00-8000-000000000002"
"""Notified: records as they are measured."""
STORED_RECORD = "6b69646a-616d-4f00-8000-000000000003"
"""Notified: records from flash, on request of the record access control point."""
STATUS = "6b69646a-616d-4f00-8000-000000000004"
"""Read and notified: `BraceletStatus`."""
RECORD_ACCESS = "6b69646a-616d-4f00-8000-000000000005"
"""Written and indicated: `vitals.gatt.record_access`."""

_RECORD = struct.Struct("<I6sBB4h")
_STATUS = struct.Struct("<BBB6sII")
_NOT_MEASURED = -0x8000


class RecordFlag(IntFlag):
    """Circumstances of one record."""

    CLOCK_SET = 0x01
    NO_CONTACT = 0x02
    MOTION = 0x04
    LOW_PERFUSION = 0x08


@dataclass(frozen=True, slots=True)
class BraceletRecord:
    """One measurement as the bracelet numbers and stores it.

    Attributes:
        seq: counts records since the restart `boot`.
        boot: restart counter, modulo 256.
        device_time_ms: the bracelet's own clock, milliseconds (see `RecordFlag.CLOCK_SET`).
        measurements: the vitals, at hundredths of their unit; None where the sensors gave no number.
    """

    seq: int
    boot: int
    device_time_ms: int
    flags: RecordFlag
    measurements: Measurements | None

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Decode one record.

        Raises:
            MalformedRecord: not 20 bytes, or flags this version does not know.
        """
        if len(data) != _RECORD.size:
            raise MalformedRecord(
                "bracelet record", data, f"{_RECORD.size} bytes expected, {len(data)} found"
            )
        seq, time, flags, boot, *hundredths = _RECORD.unpack(data)
        if unknown := flags & ~sum(RecordFlag):
            raise MalformedRecord("bracelet record", data, f"unknown flags {unknown:#04x}")
        values = {
            vital.field: raw / 100
            for vital, raw in zip(VITALS, hundredths, strict=True)
            if raw != _NOT_MEASURED
        }
        measurements = Measurements(**values) if values else None
        return cls(seq, boot, int.from_bytes(time, "little"), RecordFlag(flags), measurements)

    def __bytes__(self) -> bytes:
        """Encode.

        Raises:
            ValueError: a field does not fit, or a value is finer than a hundredth.
        """
        values = (getattr(self.measurements, vital.field, None) for vital in VITALS)
        try:
            return _RECORD.pack(
                self.seq,
                self.device_time_ms.to_bytes(6, "little"),
                self.flags,
                self.boot,
                *(_hundredths(value) for value in values),
            )
        except (struct.error, OverflowError) as error:
            raise ValueError(f"bracelet record: {error}") from error


def _hundredths(value: float | None) -> int:
    if value is None:
        return _NOT_MEASURED
    raw = round(value * 100)
    if raw == _NOT_MEASURED:
        raise ValueError(f"{value!r} is the mark of a vital that was not measured")
    if raw / 100 != value:
        raise ValueError(f"{value!r} is finer than a hundredth")
    return raw


class StatusFlag(IntFlag):
    """Technical state of the bracelet."""

    CLOCK_SET = 0x01
    WORN = 0x02
    CHARGING = 0x04


@dataclass(frozen=True, slots=True)
class BraceletStatus:
    """Technical state: boot u8, flags u8, battery u8 (%), clock u48 (ms), oldest u32, newest u32.

    Attributes:
        clock_ms: the bracelet's clock when this was sent; it lets a gateway date records of an unset clock.
        oldest_seq, newest_seq: range held in flash; oldest above newest when it is empty.
    """

    boot: int
    flags: StatusFlag
    battery_pct: int
    clock_ms: int
    oldest_seq: int
    newest_seq: int

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Decode.

        Raises:
            MalformedRecord: wrong length, unknown flags, or a battery above 100 %.
        """
        if len(data) != _STATUS.size:
            raise MalformedRecord(
                "bracelet status", data, f"{_STATUS.size} bytes expected, {len(data)} found"
            )
        boot, flags, battery, clock, oldest, newest = _STATUS.unpack(data)
        if unknown := flags & ~sum(StatusFlag):
            raise MalformedRecord("bracelet status", data, f"unknown flags {unknown:#04x}")
        if battery > 100:
            raise MalformedRecord("bracelet status", data, f"battery at {battery} %")
        return cls(boot, StatusFlag(flags), battery, int.from_bytes(clock, "little"), oldest, newest)

    def __bytes__(self) -> bytes:
        """Encode.

        Raises:
            ValueError: a field does not fit.
        """
        if self.battery_pct > 100:
            raise ValueError(f"bracelet status: battery at {self.battery_pct} %")
        try:
            return _STATUS.pack(
                self.boot,
                self.flags,
                self.battery_pct,
                self.clock_ms.to_bytes(6, "little"),
                self.oldest_seq,
                self.newest_seq,
            )
        except (struct.error, OverflowError) as error:
            raise ValueError(f"bracelet status: {error}") from error
