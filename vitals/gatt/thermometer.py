"""Temperature Measurement (0x2A1C) and Temperature Type (0x2A1D): bytes <-> value, no I/O.

    flags u8 (0 °F, 1 time, 2 type) · temperature FLOAT · [time 7] · [type u8]

Source: Bluetooth SIG, Health Thermometer Service 1.0, section 3.1.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from enum import IntEnum
from typing import Self

from vitals.errors import MalformedRecord
from vitals.gatt.current_time import DateTime
from vitals.gatt.fields import Fields, float32

MEASUREMENT = "00002a1c-0000-1000-8000-00805f9b34fb"
"""Indicated: `Temperature`."""
TYPE = "00002a1d-0000-1000-8000-00805f9b34fb"
"""Read: `Site`, one byte, on devices where it never changes."""

_PROFILE = "thermometer"
_FAHRENHEIT, _TIME, _TYPE = 0x01, 0x02, 0x04


class Site(IntEnum):
    """Body site of the measurement."""

    ARMPIT = 1
    BODY = 2
    EAR = 3
    FINGER = 4
    GASTRO_INTESTINAL = 5
    MOUTH = 6
    RECTUM = 7
    TOE = 8
    TYMPANUM = 9


def site_of(data: bytes) -> Site:
    """Decode Temperature Type (0x2A1D).

    Raises:
        MalformedRecord: not one byte, or an unknown type.
    """
    try:
        (number,) = data
        return Site(number)
    except ValueError as error:
        raise MalformedRecord("temperature type", data, "not one byte from 1 to 9") from error


_KNOWN_SITES = frozenset(Site)


@dataclass(frozen=True, slots=True)
class Temperature:
    """One indication of a thermometer.

    Attributes:
        value: in the unit it was sent in; None if the thermometer sends no number.
        fahrenheit: the unit is °F, not °C.
        time: when it was taken; None if not sent.
    """

    value: float | None
    fahrenheit: bool = False
    time: DateTime | None = None
    site: Site | None = None

    @property
    def celsius(self) -> float | None:
        """The temperature in °C, computed in decimals so that 100.4 °F is exactly 38.0 °C, an alarm."""
        if self.value is None or not self.fahrenheit:
            return self.value
        return float((Decimal(repr(self.value)) - 32) * 5 / 9)

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Decode one indication.

        Raises:
            MalformedRecord: its length does not match its flags.
        """
        fields = Fields(_PROFILE, data)
        flags = fields.unsigned(1)
        value = fields.float()
        time = fields.date_time() if flags & _TIME else None
        site = fields.unsigned(1) if flags & _TYPE else None
        fields.end()
        # An unknown type must not cost the temperature.
        known_site = Site(site) if site in _KNOWN_SITES else None
        return cls(value, bool(flags & _FAHRENHEIT), time, known_site)

    def __bytes__(self) -> bytes:
        """Encode.

        Raises:
            ValueError: a number does not fit FLOAT.
        """
        flags = _FAHRENHEIT * self.fahrenheit | _TIME * bool(self.time) | _TYPE * (self.site is not None)
        time = bytes(self.time) if self.time else b""
        site = bytes([self.site]) if self.site is not None else b""
        return bytes([flags]) + float32(self.value) + time + site
