"""Heart Rate Measurement (0x2A37): bytes <-> value, no I/O.

    flags u8 · rate u8 or u16 · [energy u16, kJ] · [R-R intervals u16, 1/1024 s]*

Source: Bluetooth SIG, Heart Rate Service 1.0, section 3.1.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum, IntFlag
from typing import Self

from vitals.errors import MalformedRecord

MEASUREMENT = "00002a37-0000-1000-8000-00805f9b34fb"
"""Notified: `HeartRate`."""
SENSOR_LOCATION = "00002a38-0000-1000-8000-00805f9b34fb"
"""Read: `SensorLocation`, one byte."""

_PROFILE = "heart rate"
_RR_UNIT = 1024


class _Flag(IntFlag):
    WIDE_RATE = 0x01
    CONTACT_DETECTED = 0x02
    CONTACT_SUPPORTED = 0x04
    ENERGY = 0x08
    RR_INTERVALS = 0x10


class SensorLocation(IntEnum):
    """Where the sensor is worn."""

    OTHER = 0
    CHEST = 1
    WRIST = 2
    FINGER = 3
    HAND = 4
    EAR_LOBE = 5
    FOOT = 6


@dataclass(frozen=True, slots=True)
class HeartRate:
    """One notification of a heart rate sensor.

    Attributes:
        rate: beats per minute, 0 to 65535; many sensors send 0 when they detect no pulse.
        contact: whether there is skin contact; None if the sensor cannot detect it.
        energy_kj: energy expended since the last reset; None if not sent.
        rr_1024: intervals between beats, oldest first, in 1/1024 s.
    """

    rate: int
    contact: bool | None = None
    energy_kj: int | None = None
    rr_1024: tuple[int, ...] = ()

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Decode one notification.

        Raises:
            MalformedRecord: its length does not match its flags.
        """
        flags = _Flag(data[0]) if data else _Flag(0)
        layout = "<BH" if flags & _Flag.WIDE_RATE else "<BB"
        layout += "H" if flags & _Flag.ENERGY else ""
        beats, odd = divmod(len(data) - struct.calcsize(layout), 2)
        with_beats = bool(flags & _Flag.RR_INTERVALS)
        if beats < with_beats or odd or (beats and not with_beats):
            raise MalformedRecord(_PROFILE, data, f"{len(data)} bytes do not fit its flags")
        _, rate, *rest = struct.unpack(f"{layout}{beats}H", data)
        energy = rest.pop(0) if flags & _Flag.ENERGY else None
        contact = bool(flags & _Flag.CONTACT_DETECTED) if flags & _Flag.CONTACT_SUPPORTED else None
        return cls(rate, contact, energy, tuple(rest))

    def __bytes__(self) -> bytes:
        """Encode.

        Raises:
            ValueError: a number does not fit its field.
        """
        flags = _Flag(0)
        flags |= _Flag.WIDE_RATE if self.rate > 0xFF else 0
        flags |= _Flag.CONTACT_SUPPORTED if self.contact is not None else 0
        flags |= _Flag.CONTACT_DETECTED if self.contact else 0
        flags |= _Flag.ENERGY if self.energy_kj is not None else 0
        flags |= _Flag.RR_INTERVALS if self.rr_1024 else 0
        energy = () if self.energy_kj is None else (self.energy_kj,)
        layout = f"<B{'H' if self.rate > 0xFF else 'B'}{len(energy) + len(self.rr_1024)}H"
        try:
            return struct.pack(layout, flags, self.rate, *energy, *self.rr_1024)
        except struct.error as error:
            raise ValueError(f"{_PROFILE}: {error}") from error

    @property
    def rr_intervals_s(self) -> tuple[float, ...]:
        """Intervals between beats in seconds, oldest first."""
        return tuple(beat / _RR_UNIT for beat in self.rr_1024)
