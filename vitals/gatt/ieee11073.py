"""SFLOAT and FLOAT of IEEE 11073-20601, the number formats of Bluetooth health devices. No I/O.

A number is a mantissa times a power of ten, both in two's complement, little-endian on Bluetooth. SFLOAT has
4 bits of exponent and 12 of mantissa, FLOAT 8 and 24. Five mantissas are special values (Bluetooth SIG,
Personal Health Devices Transcoding White Paper, section 2.2).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from decimal import Decimal

from vitals.errors import MalformedRecord


@dataclass(frozen=True, slots=True)
class _Format:
    name: str
    size: int
    mantissa_bits: int
    exponent_bits: int

    @property
    def special(self) -> dict[int, float]:
        """The special values by mantissa; all but the infinities are decoded as NaN."""
        top = 1 << (self.mantissa_bits - 1)
        return {
            top - 2: math.inf,
            top - 1: math.nan,
            top: math.nan,  # not at this resolution
            top + 1: math.nan,  # reserved
            top + 2: -math.inf,
        }

    def decode(self, data: bytes) -> float:
        if len(data) != self.size:
            raise MalformedRecord(self.name, data, f"{self.size} bytes expected, {len(data)} found")
        raw = int.from_bytes(data, "little")
        mantissa = raw & ((1 << self.mantissa_bits) - 1)
        exponent = _signed(raw >> self.mantissa_bits, self.exponent_bits)
        if mantissa in (special := self.special) and exponent == 0:
            return special[mantissa]
        number = _signed(mantissa, self.mantissa_bits)
        # Division by an exact power of ten rounds once: 876 / 10 is 87.6, but 876 * 0.1 is 87.60000000000001.
        if exponent < 0:
            return number / int(10**-exponent)
        return float(number * 10**exponent)

    def encode(self, value: float) -> bytes:
        mantissa, exponent = self._fit(value)
        raw = (mantissa & ((1 << self.mantissa_bits) - 1)) | (
            (exponent & ((1 << self.exponent_bits) - 1)) << self.mantissa_bits
        )
        return raw.to_bytes(self.size, "little")

    def _fit(self, value: float) -> tuple[int, int]:
        top = 1 << (self.mantissa_bits - 1)
        if math.isnan(value):
            return top - 1, 0
        if math.isinf(value):
            return (top - 2, 0) if value > 0 else (-top + 2, 0)
        largest = top - 3  # larger ones, and their negatives, are special values
        lowest, highest = -(1 << (self.exponent_bits - 1)), (1 << (self.exponent_bits - 1)) - 1
        exact = Decimal(repr(float(value)))
        sign, digits, point = exact.normalize().as_tuple()
        mantissa, exponent = int("".join(map(str, digits))), int(point)
        # Like devices, prefer exponent 0: 100 is sent as 100, not as 1 times ten squared.
        while exponent > 0 and mantissa * 10 <= largest:
            mantissa, exponent = mantissa * 10, exponent - 1
        if mantissa > largest or not lowest <= exponent <= highest:
            raise ValueError(f"{value!r} does not fit {self.name} without rounding")
        return (-mantissa if sign else mantissa), exponent


def _signed(value: int, bits: int) -> int:
    return value - (1 << bits) if value >> (bits - 1) else value


_SFLOAT = _Format("SFLOAT", 2, 12, 4)
_FLOAT = _Format("FLOAT", 4, 24, 8)


def decode_sfloat(data: bytes) -> float:
    """Decode a 16-bit number; special values that are not a number become NaN.

    Raises:
        MalformedRecord: not two bytes.
    """
    return _SFLOAT.decode(data)


def encode_sfloat(value: float) -> bytes:
    """Encode as 16 bits.

    Raises:
        ValueError: the value would have to be rounded, which could hide an alarm.
    """
    return _SFLOAT.encode(value)


def decode_float(data: bytes) -> float:
    """Decode a 32-bit number; special values that are not a number become NaN.

    Raises:
        MalformedRecord: not four bytes.
    """
    return _FLOAT.decode(data)


def encode_float(value: float) -> bytes:
    """Encode as 32 bits.

    Raises:
        ValueError: the value would have to be rounded, which could hide an alarm.
    """
    return _FLOAT.encode(value)
