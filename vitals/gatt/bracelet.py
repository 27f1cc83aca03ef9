"""The bracelet's own service, for records that no standard profile can carry. Bytes <-> values, no I/O.

A record is 20 bytes, to fit into one notification at the smallest MTU (23). All fields are little-endian:

    offset  size  field        meaning
    0       4     seq          u32, counts records since `boot`
    4       6     device_time  u48, ms of the bracelet's clock; since 1970 UTC once set, since restart before
    10      1     flags        u8, `RecordFlag`
    11      1     boot         u8, restart counter
    12      2     spo2_pct     i16, hundredths of %
    14      2     freq_card    i16, hundredths of /min
    16      2     freq_resp    i16, hundredths of /min
    18      2     temp_corp    i16, hundredths of °C

A vital that was not measured is 0x8000. Values are hundredths and not SFLOAT, because SFLOAT has three digits
and would turn 37.96 °C into 38.0 °C, which is an alarm.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntFlag
from typing import Self

from vitals.errors import MalformedRecord
from vitals.reading import Measurements

SERVICE = "6b69646a-616d-4f00-8000-000000000001"
LIVE_RECORD = "6b69646a-616d-4f00-8000-000000000002"
"""Notified: records as they are measured."""
STORED_RECORD = "6b69646a-616d-4f00-8000-000000000003"
"""Notified: records from flash, requested through the record access control point."""
STATUS = "6b69646a-616d-4f00-8000-000000000004"
"""Read and notified: `BraceletStatus`."""
RECORD_ACCESS = "6b69646a-616d-4f00-8000-000000000005"
"""Written and indicated: `vitals.gatt.record_access`."""

_RECORD = struct.Struct("<I6sBB4h")
_STATUS = struct.Struct("<BBB6sII")
_NOT_MEASURED = -0x8000
FIELDS = ("spo2_pct", "freq_card", "freq_resp", "temp_corp")
"""The vitals of a record in wire order, whatever the order of `vitals.limits.VITALS`."""


class RecordFlag(IntFlag):
    """Conditions under which one record was measured."""

    CLOCK_SET = 0x01
    NO_CONTACT = 0x02
    MOTION = 0x04
    LOW_PERFUSION = 0x08


@dataclass(frozen=True, slots=True)
class BraceletRecord:
    """One record as the bracelet numbers and stores it.

    Attributes:
        seq: counts records since the restart `boot`.
        boot: restart counter, modulo 256.
        device_time_ms: the bracelet's own clock, milliseconds (see `RecordFlag.CLOCK_SET`).
        measurements: the vitals, in steps of a hundredth; None if no sensor gave a value.
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
            MalformedRecord: not 20 bytes, or unknown flags.
        """
        if len(data) != _RECORD.size:
            raise MalformedRecord(
                "bracelet record", data, f"{_RECORD.size} bytes expected, {len(data)} found"
            )
        seq, time, flags, boot, *hundredths = _RECORD.unpack(data)
        if unknown := flags & ~sum(RecordFlag):
            raise MalformedRecord("bracelet record", data, f"unknown flags {unknown:#04x}")
        values = {
            field: raw / 100 for field, raw in zip(FIELDS, hundredths, strict=True) if raw != _NOT_MEASURED
        }
        measurements = Measurements(**values) if values else None
        return cls(seq, boot, int.from_bytes(time, "little"), RecordFlag(flags), measurements)

    def __bytes__(self) -> bytes:
        """Encode.

        Raises:
            ValueError: a field does not fit, a value is finer than a hundredth, or a vital has no field here.
        """
        values = self.measurements.present() if self.measurements else {}
        if other := values.keys() - set(FIELDS):
            raise ValueError(f"bracelet record: no field for {', '.join(sorted(other))}")
        try:
            return _RECORD.pack(
                self.seq,
                self.device_time_ms.to_bytes(6, "little"),
                self.flags,
                self.boot,
                *(_hundredths(values.get(field)) for field in FIELDS),
            )
        except (struct.error, OverflowError) as error:
            raise ValueError(f"bracelet record: {error}") from error


def _hundredths(value: float | None) -> int:
    if value is None:
        return _NOT_MEASURED
    raw = round(value * 100)
    if raw == _NOT_MEASURED:
        raise ValueError(f"{value!r} is reserved for a vital that was not measured")
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
        clock_ms: the bracelet's clock at sending; a gateway dates records of an unset clock by it.
        oldest_seq, newest_seq: range stored in flash; oldest is above newest when it is empty.
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
