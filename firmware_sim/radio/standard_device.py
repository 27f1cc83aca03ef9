"""Simulated standard devices: pulse oximeter, heart-rate strap and thermometer with the SIG's profiles.

None of them stores measurements or numbers them.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from enum import StrEnum

from bumble.core import UUID
from bumble.gatt import (
    GATT_BATTERY_LEVEL_CHARACTERISTIC,
    GATT_BATTERY_SERVICE,
    Characteristic,
    Service,
)
from bumble.profiles.device_information_service import DeviceInformationService

from firmware_sim.radio.device import Permission, Property, RadioDevice, indicated, notified, readable
from firmware_sim.radio.virtual_radio import VirtualLink
from vitals.gatt import heart_rate, pulse_oximeter, thermometer
from vitals.gatt.current_time import DateTime
from vitals.gatt.heart_rate import HeartRate, SensorLocation
from vitals.gatt.pulse_oximeter import (
    ContinuousMeasurement,
    Feature,
    MeasurementCondition,
    MeasurementStatus,
    Oximetry,
    SensorStatus,
    SpotCheckMeasurement,
)
from vitals.gatt.thermometer import Site, Temperature
from vitals.reading import Measurements

_BATTERY_PCT = 80
_NO_SENSOR = MeasurementCondition(
    MeasurementStatus.INVALID, SensorStatus.NOT_ON_USER | SensorStatus.DISCONNECTED
)
_STATUS_BITS, _SENSOR_BITS = sum(MeasurementStatus), sum(SensorStatus)


class StandardDeviceKind(StrEnum):
    """Kinds of standard devices."""

    OXIMETER = "oximeter"
    STRAP = "strap"
    THERMOMETER = "thermometer"


class StandardDevice(RadioDevice):
    """One device.

    Args:
        link: the radio link.
        number: unique on this link, part of the address.
        serial_number: serial number of its Device Information Service.
        service: 16-bit UUID of its profile's service.
        characteristics: characteristics of that service.
    """

    def __init__(
        self,
        link: VirtualLink,
        number: int,
        serial_number: str,
        service: int,
        characteristics: list[Characteristic[bytes]],
    ) -> None:
        super().__init__(
            link, number, f"Sim {type(self).__name__} {serial_number}", UUID.from_16_bits(service)
        )
        self.battery = readable(GATT_BATTERY_LEVEL_CHARACTERISTIC, lambda: bytes([_BATTERY_PCT]))
        self.add_services(
            [
                Service(UUID.from_16_bits(service), characteristics),
                Service(GATT_BATTERY_SERVICE, [self.battery]),
                DeviceInformationService("Simulated", type(self).__name__, serial_number),
            ]
        )

    async def measure(self, values: Measurements | None) -> None:
        """Send one measurement to the subscriber, if any.

        Args:
            values: the vitals; None if the sensor is not attached.
        """
        raise NotImplementedError


class Oximeter(StandardDevice):
    """Pulse Oximeter Service 1.0: continuous measurements, and a spot-check measurement on request."""

    def __init__(self, link: VirtualLink, number: int, serial_number: str) -> None:
        self._continuous = notified(pulse_oximeter.CONTINUOUS)
        self._spot_check = indicated(pulse_oximeter.SPOT_CHECK)
        features = Feature.MEASUREMENT_STATUS | Feature.SENSOR_STATUS | Feature.TIMESTAMP
        described = features.to_bytes(2, "little")
        described += _STATUS_BITS.to_bytes(2, "little") + _SENSOR_BITS.to_bytes(3, "little")
        offered = [_constant(pulse_oximeter.FEATURES, described), self._continuous, self._spot_check]
        super().__init__(link, number, serial_number, 0x1822, offered)

    async def measure(self, values: Measurements | None) -> None:
        """Notify a continuous measurement."""
        if values is None:
            nothing = ContinuousMeasurement(Oximetry(None, None), condition=_NO_SENSOR)
            await self.send(bytes(nothing))
        else:
            await self.send(bytes(ContinuousMeasurement(_oximetry(values))))

    async def send(self, value: bytes) -> None:
        """Notify any bytes as a continuous measurement."""
        await self.notify(self._continuous, value)

    async def spot_check(self, values: Measurements, at: datetime, *, clock_set: bool = True) -> None:
        """Indicate one spot-check measurement with its time."""
        measured = SpotCheckMeasurement(_oximetry(values), DateTime.of(at), clock_not_set=not clock_set)
        await self.indicate(self._spot_check, bytes(measured))


class Strap(StandardDevice):
    """Heart Rate Service 1.0, worn on the chest."""

    def __init__(self, link: VirtualLink, number: int, serial_number: str) -> None:
        self._rate = notified(heart_rate.MEASUREMENT)
        location = _constant(heart_rate.SENSOR_LOCATION, bytes([SensorLocation.CHEST]))
        super().__init__(link, number, serial_number, 0x180D, [self._rate, location])

    async def measure(self, values: Measurements | None) -> None:
        """Notify the heart rate."""
        rate = round(values.freq_card) if values and values.freq_card is not None else 0
        await self.notify(self._rate, bytes(HeartRate(rate, contact=values is not None)))


class Thermometer(StandardDevice):
    """Health Thermometer Service 1.0, in the ear; the site is a characteristic, not part of each value.

    Args:
        fahrenheit: whether it measures in °F.
        now: returns the time of its clock.
    """

    def __init__(
        self,
        link: VirtualLink,
        number: int,
        serial_number: str,
        *,
        fahrenheit: bool = False,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._fahrenheit, self._now = fahrenheit, now
        self._temperature = indicated(thermometer.MEASUREMENT)
        site = _constant(thermometer.TYPE, bytes([Site.EAR]))
        super().__init__(link, number, serial_number, 0x1809, [self._temperature, site])

    async def measure(self, values: Measurements | None) -> None:
        """Indicate the temperature."""
        celsius = values.temp_corp if values else None
        shown = round(celsius * 9 / 5 + 32, 2) if celsius is not None and self._fahrenheit else celsius
        measured = Temperature(shown, self._fahrenheit, DateTime.of(self._now()))
        await self.indicate(self._temperature, bytes(measured))


DEVICE_CLASSES: dict[StandardDeviceKind, Callable[[VirtualLink, int, str], StandardDevice]] = {
    StandardDeviceKind.OXIMETER: Oximeter,
    StandardDeviceKind.STRAP: Strap,
    StandardDeviceKind.THERMOMETER: Thermometer,
}
"""Class of each kind."""


def _oximetry(values: Measurements) -> Oximetry:
    return Oximetry(values.spo2_pct, values.freq_card)


def _constant(uuid: str, value: bytes) -> Characteristic[bytes]:
    return Characteristic[bytes](uuid, Property.READ, Permission.READABLE, value)
