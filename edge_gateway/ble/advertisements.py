"""Recent advertisements: shown by `scan`, and the starting point of connections."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from bleak.backends.device import BLEDevice
from bleak.backends.scanner import AdvertisementData

from vitals.gatt.services import vitals_offered

_MOST = 500
"""Devices in the cache; changing addresses must not fill the memory."""


@dataclass(frozen=True, slots=True)
class Advertisement:
    """One device as it was last received.

    Attributes:
        services: advertised services, 128-bit UUIDs in lower case.
        rssi: signal strength, dBm.
        at: time of reception, seconds of the monotonic clock.
    """

    device: BLEDevice
    name: str
    services: frozenset[str]
    rssi: int
    at: float

    @classmethod
    def of(cls, device: BLEDevice, data: AdvertisementData) -> Advertisement:
        """Return the advertisement that bleak received just now."""
        return cls(
            device,
            data.local_name or device.name or "",
            frozenset(uuid.lower() for uuid in data.service_uuids),
            data.rssi,
            time.monotonic(),
        )

    @property
    def address(self) -> str:
        """Bluetooth address, as AA:BB:CC:DD:EE:FF."""
        return self.device.address.upper()

    @property
    def has_lasting_address(self) -> bool:
        """Whether the address is permanent.

        Public and static random addresses are; a resolvable one changes every 15 minutes. Only BlueZ reports
        the address type. A random address is static if its two highest bits are set (Core 5.4, Vol 6 Part B,
        1.3.2).
        """
        details = self.device.details if isinstance(self.device.details, dict) else {}
        if details.get("props", {}).get("AddressType") != "random":
            return True
        return int(self.address[:2], 16) >= 0xC0

    def to_json(self, listed_as: str | None) -> dict[str, Any]:
        """Return the advertisement as a JSON object.

        Args:
            listed_as: `device_id` of the device in the gateway's list, if it has one.
        """
        return {
            "address": self.address,
            "name": self.name,
            "rssi": self.rssi,
            "vitals": list(vitals_offered(self.services)),
            "listed_as": listed_as,
        }


class AdvertisementCache:
    """The latest advertisement of each device."""

    def __init__(self) -> None:
        self._latest: dict[str, Advertisement] = {}

    def add(self, advertisement: Advertisement) -> None:
        """Add an advertisement; when the cache is full, the oldest one is removed."""
        self._latest.pop(advertisement.address, None)
        self._latest[advertisement.address] = advertisement
        if len(self._latest) > _MOST:
            del self._latest[next(iter(self._latest))]

    def since(self, at: float) -> list[Advertisement]:
        """Return the devices received at that time or later, the strongest first."""
        return sorted((each for each in self._latest.values() if each.at >= at), key=lambda each: -each.rssi)
