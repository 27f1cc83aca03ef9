"""Pulse oximeter measurements, continuous (0x2A5F) and spot-check (0x2A5E): bytes <-> value, no I/O.

    0x2A5F  flags u8 · SpO2, pulse rate · [fast SpO2, pulse rate] · [slow SpO2, pulse rate]
            · [status u16] · [sensor u24] · [amplitude]
    0x2A5E  flags u8 · SpO2, pulse rate · [time 7] · [status u16] · [sensor u24] · [amplitude]

SpO2 (%), pulse rate (/min) and pulse amplitude index (%) are SFLOAT, little-endian.
Source: Bluetooth SIG, Pulse Oximeter Service 1.0, sections 3.1 to 3.3.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntFlag
from typing import Self

from vitals.gatt.current_time import DateTime
from vitals.gatt.fields import Fields, sfloat

CONTINUOUS = "00002a5f-0000-1000-8000-00805f9b34fb"
"""Notified: `ContinuousMeasurement`."""
SPOT_CHECK = "00002a5e-0000-1000-8000-00805f9b34fb"
"""Indicated: `SpotCheckMeasurement`."""
FEATURES = "00002a60-0000-1000-8000-00805f9b34fb"
"""Read: `Feature` u16, then the supported bits of status (u16) and sensor (u24) if it has them."""


class MeasurementStatus(IntFlag):
    """Quality of a measurement (section 3.1.1.4)."""

    ONGOING = 1 << 5
    EARLY_ESTIMATE = 1 << 6
    VALIDATED = 1 << 7
    FULLY_QUALIFIED = 1 << 8
    FROM_STORAGE = 1 << 9
    DEMONSTRATION = 1 << 10
    TEST = 1 << 11
    CALIBRATING = 1 << 12
    UNAVAILABLE = 1 << 13
    QUESTIONABLE = 1 << 14
    INVALID = 1 << 15


class SensorStatus(IntFlag):
    """State of the sensor (section 3.1.1.5)."""

    EXTENDED_UPDATE = 1 << 0
    MALFUNCTION = 1 << 1
    IRREGULAR_SIGNAL = 1 << 2
    INADEQUATE_SIGNAL = 1 << 3
    POOR_SIGNAL = 1 << 4
    LOW_PERFUSION = 1 << 5
    ERRATIC_SIGNAL = 1 << 6
    NONPULSATILE_SIGNAL = 1 << 7
    QUESTIONABLE_PULSE = 1 << 8
    ANALYSING = 1 << 9
    SENSOR_INTERFACE = 1 << 10
    NOT_ON_USER = 1 << 11
    UNKNOWN_SENSOR = 1 << 12
    DISPLACED = 1 << 13
    SENSOR_MALFUNCTION = 1 << 14
    DISCONNECTED = 1 << 15


class Feature(IntFlag):
    """Optional features of an oximeter (section 3.3)."""

    MEASUREMENT_STATUS = 1 << 0
    SENSOR_STATUS = 1 << 1
    STORAGE = 1 << 2
    TIMESTAMP = 1 << 3
    FAST = 1 << 4
    SLOW = 1 << 5
    PULSE_AMPLITUDE = 1 << 6
    MULTIPLE_BONDS = 1 << 7


@dataclass(frozen=True, slots=True)
class Oximetry:
    """A pair of values; None if the oximeter sends no number.

    Attributes:
        spo2: %.
        pulse_rate: /min.
    """

    spo2: float | None
    pulse_rate: float | None

    @classmethod
    def read(cls, fields: Fields) -> Self:
        """Read a pair."""
        return cls(fields.sfloat(), fields.sfloat())

    def __bytes__(self) -> bytes:
        return sfloat(self.spo2) + sfloat(self.pulse_rate)


@dataclass(frozen=True, slots=True)
class MeasurementCondition:
    """The conditions of a measurement; None for what was not sent.

    Attributes:
        amplitude: pulse amplitude index, %.
    """

    status: MeasurementStatus | None = None
    sensor: SensorStatus | None = None
    amplitude: float | None = None


@dataclass(frozen=True, slots=True)
class ContinuousMeasurement:
    """One notification of continuous measurement.

    Attributes:
        normal, fast, slow: values with normal, fast and slow response; None if not sent.
    """

    normal: Oximetry
    fast: Oximetry | None = None
    slow: Oximetry | None = None
    condition: MeasurementCondition = MeasurementCondition()

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Decode one notification.

        Raises:
            MalformedRecord: its length does not match its flags.
        """
        fields = Fields("continuous oximetry", data)
        flags = fields.unsigned(1)
        normal = Oximetry.read(fields)
        fast = Oximetry.read(fields) if flags & 0x01 else None
        slow = Oximetry.read(fields) if flags & 0x02 else None
        condition = _read_condition(fields, flags >> 2)
        fields.end()
        return cls(normal, fast, slow, condition)

    def __bytes__(self) -> bytes:
        """Encode.

        Raises:
            ValueError: a number does not fit SFLOAT.
        """
        flags, tail = _encode_condition(self.condition)
        pairs = [pair for pair in (self.fast, self.slow) if pair]
        flags = flags << 2 | bool(self.fast) | bool(self.slow) << 1
        return bytes([flags]) + bytes(self.normal) + b"".join(map(bytes, pairs)) + tail


@dataclass(frozen=True, slots=True)
class SpotCheckMeasurement:
    """One indication of a single measurement.

    Attributes:
        time: when it was taken; None if not sent.
        clock_not_set: the clock was never set, so the time is meaningless.
    """

    values: Oximetry
    time: DateTime | None = None
    condition: MeasurementCondition = MeasurementCondition()
    clock_not_set: bool = False

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Decode one indication.

        Raises:
            MalformedRecord: its length does not match its flags.
        """
        fields = Fields("spot-check oximetry", data)
        flags = fields.unsigned(1)
        values = Oximetry.read(fields)
        time = fields.date_time() if flags & 0x01 else None
        condition = _read_condition(fields, flags >> 1)
        fields.end()
        return cls(values, time, condition, bool(flags & 0x10))

    def __bytes__(self) -> bytes:
        """Encode.

        Raises:
            ValueError: a number does not fit SFLOAT.
        """
        flags, tail = _encode_condition(self.condition)
        flags = flags << 1 | bool(self.time) | self.clock_not_set << 4
        return bytes([flags]) + bytes(self.values) + (bytes(self.time) if self.time else b"") + tail


def _read_condition(fields: Fields, flags: int) -> MeasurementCondition:
    """Read what bits 0 to 2 of the flags announce: status, sensor, amplitude."""
    return MeasurementCondition(
        MeasurementStatus(fields.unsigned(2)) if flags & 0x01 else None,
        SensorStatus(fields.unsigned(3)) if flags & 0x02 else None,
        fields.sfloat() if flags & 0x04 else None,
    )


def _encode_condition(condition: MeasurementCondition) -> tuple[int, bytes]:
    flags, tail = 0, b""
    if condition.status is not None:
        flags, tail = flags | 0x01, tail + condition.status.to_bytes(2, "little")
    if condition.sensor is not None:
        flags, tail = flags | 0x02, tail + condition.sensor.to_bytes(3, "little")
    if condition.amplitude is not None:
        flags, tail = flags | 0x04, tail + sfloat(condition.amplitude)
    return flags, tail
