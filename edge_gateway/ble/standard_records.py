"""Measurements of standard Bluetooth health devices: values, signal quality and time. No I/O."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from vitals.gatt import heart_rate, pulse_oximeter, thermometer
from vitals.gatt.current_time import DateTime
from vitals.gatt.heart_rate import HeartRate
from vitals.gatt.pulse_oximeter import (
    ContinuousMeasurement,
    MeasurementCondition,
    MeasurementStatus,
    Oximetry,
    SensorStatus,
    SpotCheckMeasurement,
)
from vitals.gatt.thermometer import Temperature
from vitals.limits import FUTURE_TOLERANCE_S
from vitals.reading import Measurements, Signal

LONGEST_AGO = timedelta(days=31)
"""A measurement with an older time is dated by its arrival, since the device's clock must be wrong."""
AHEAD = timedelta(seconds=FUTURE_TOLERANCE_S)
"""The same for a time in the future (the contract quarantines readings further ahead)."""

_NOT_WORN = SensorStatus.NOT_ON_USER | SensorStatus.DISCONNECTED | SensorStatus.DISPLACED
_NO_VALUE = MeasurementStatus.INVALID | MeasurementStatus.UNAVAILABLE
_MOVING = SensorStatus.ERRATIC_SIGNAL | SensorStatus.IRREGULAR_SIGNAL


@dataclass(frozen=True, slots=True)
class StandardObservation:
    """One measurement of a standard device.

    Attributes:
        measurements: None if it holds no value.
        own_time: time of the measurement by the device's clock, if it was sent and the clock is set.
    """

    measurements: Measurements | None
    signal: Signal
    own_time: DateTime | None = None

    def plausible_own_time(self, arrived: datetime) -> datetime | None:
        """Return the time by the device's clock, if it is plausible."""
        own = self.own_time.moment() if self.own_time else None
        return own if own and -AHEAD < arrived - own < LONGEST_AGO else None

    def moment(self, arrived: datetime) -> datetime:
        """Return when it was measured: by the device's clock if plausible, else its arrival."""
        own = self.plausible_own_time(arrived)
        return min(own, arrived) if own else arrived


def of_continuous(data: bytes) -> StandardObservation:
    """Parse a continuous oximeter measurement.

    Raises:
        MalformedRecord: the bytes do not follow the profile.
    """
    measured = ContinuousMeasurement.from_bytes(data)
    return _of_oximetry(measured.normal, measured.condition, None)


def of_spot_check(data: bytes) -> StandardObservation:
    """Parse a spot-check oximeter measurement.

    Raises:
        MalformedRecord: the bytes do not follow the profile.
    """
    measured = SpotCheckMeasurement.from_bytes(data)
    own_time = None if measured.clock_not_set else measured.time
    return _of_oximetry(measured.values, measured.condition, own_time)


def of_heart_rate(data: bytes) -> StandardObservation:
    """Parse a heart rate measurement; 0 without skin contact is no value.

    Raises:
        MalformedRecord: the bytes do not follow the profile.
    """
    measured = HeartRate.from_bytes(data)
    absent = measured.contact is False and measured.rate == 0
    values = None if absent else Measurements(freq_card=measured.rate)
    return StandardObservation(values, Signal(contact=measured.contact))


def of_temperature(data: bytes) -> StandardObservation:
    """Parse a temperature measurement.

    Raises:
        MalformedRecord: the bytes do not follow the profile.
    """
    measured = Temperature.from_bytes(data)
    values = None if measured.celsius is None else Measurements(temp_corp=measured.celsius)
    site = measured.site.name.lower() if measured.site else None
    return StandardObservation(values, Signal(site=site), measured.time)


DECODERS: dict[str, Callable[[bytes], StandardObservation]] = {
    pulse_oximeter.CONTINUOUS: of_continuous,
    pulse_oximeter.SPOT_CHECK: of_spot_check,
    heart_rate.MEASUREMENT: of_heart_rate,
    thermometer.MEASUREMENT: of_temperature,
}
"""The parser of each characteristic."""


def _of_oximetry(
    values: Oximetry, condition: MeasurementCondition, own_time: DateTime | None
) -> StandardObservation:
    """A questionable value is kept: discarding a low one could miss a critical state."""
    status = condition.status or MeasurementStatus(0)
    sensor = condition.sensor
    signal = Signal(
        contact=None if sensor is None else not sensor & _NOT_WORN,
        low_perfusion=None if sensor is None else bool(sensor & SensorStatus.LOW_PERFUSION),
        motion=None if sensor is None else bool(sensor & _MOVING),
    )
    nothing = (values.spo2 is None and values.pulse_rate is None) or status & _NO_VALUE
    measurements = None if nothing else Measurements(spo2_pct=values.spo2, freq_card=values.pulse_rate)
    return StandardObservation(measurements, signal, own_time)
