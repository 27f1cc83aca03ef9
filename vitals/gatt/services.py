"""Bluetooth services that carry vitals; full UUIDs in lower case, as bleak writes them."""

from __future__ import annotations

from vitals.gatt import bracelet, current_time
from vitals.limits import VITALS


def _sig(number: int) -> str:
    """Return the full form of a 16-bit UUID of the Bluetooth SIG (Core 5.4, Vol 3 Part B, 2.5.1)."""
    return f"0000{number:04x}-0000-1000-8000-00805f9b34fb"


BRACELET = bracelet.SERVICE
HEART_RATE = _sig(0x180D)
PULSE_OXIMETER = _sig(0x1822)
THERMOMETER = _sig(0x1809)
BATTERY = _sig(0x180F)
DEVICE_INFORMATION = _sig(0x180A)
CURRENT_TIME = current_time.SERVICE

SERIAL_NUMBER = _sig(0x2A25)
BATTERY_LEVEL = _sig(0x2A19)

VITALS_OF: dict[str, tuple[str, ...]] = {
    BRACELET: bracelet.FIELDS,
    PULSE_OXIMETER: ("spo2_pct", "freq_card"),
    HEART_RATE: ("freq_card",),
    THERMOMETER: ("temp_corp",),
}
"""The vitals that a service can carry."""


def vitals_offered(services: frozenset[str]) -> tuple[str, ...]:
    """Return the vitals that a device with these services can measure, in the order of the registry."""
    offered = {field for service in services for field in VITALS_OF.get(service, ())}
    return tuple(vital.field for vital in VITALS if vital.field in offered)
