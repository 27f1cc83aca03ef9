"""Who was heard on the air lately: what `scan` shows, and where connections are made from."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from bleak.backends.device import BLEDevice
from bleak.backends.scanner import AdvertisementData

from vitals.gatt.services import vitals_offered

_MOST = 500
"""Devices remembered; changing addresses must not fill the memory."""


@dataclass(frozen=True, slots=True)
class Advertisement:
    """One device as it was last heard.

    Attributes:
        services: what it advertised, 128-bit UUIDs in lower case.
        rssi: signal strength, dBm.
        at: when, seconds of the steady clock.
    """

    device: BLEDevice
    name: str
    services: frozenset[str]
    rssi: int
    at: float

    @classmethod
    def of(cls, device: BLEDevice, advertisement: AdvertisementData) -> Advertisement:
        """A device heard just now."""
        return cls(
            device,
            advertisement.local_name or device.name or "",
            frozenset(uuid.lower() for uuid in advertisement.service_uuids),
            advertisement.rssi,
            time.monotonic(),
        )

    @property
    def address(self) -> str:
        """Its Bluetooth address, as AA:BB:CC:DD:EE:FF."""
        return self.device.address.upper()

    @property
    def has_lasting_address(self) -> bool:
        """Whether it will still have this address tomorrow.

        Public addresses and static random ones do; a resolvable one changes every quarter of an hour. Only
        BlueZ says which kind it is: a random address is static where its two highest bits are set (Core 5.4,
        Vol 6 Part B, 1.3.2).
        """
        details = self.device.details if isinstance(self.device.details, dict) else {}
        if details.get("props", {}).get("AddressType") != "random":
            return True
        return int(self.address[:2], 16) >= 0xC0

    def to_json(self, listed_as: str | None) -> dict[str, Any]:
        """As an object.

        Args:
            listed_as: `device_id` under which this gateway's list has it.
        """
        return {
            "address": self.address,
            "name": self.name,
            "rssi": self.rssi,
            "vitals": list(vitals_offered(self.services)),
            "listed_as": listed_as,
        }


class AdvertisementCache:
    """The latest sighting of each device."""

    def __init__(self) -> None:
        self._latest: dict[str, Advertisement] = {}

    def note(self, advertisement: Advertisement) -> None:
        """Take a sighting; the device heard longest ago makes room."""
        self._latest.pop(advertisement.address, None)
        self._latest[advertisement.address] = advertisement
        if len(self._latest) > _MOST:
            del self._latest[next(iter(self._latest))]

    def since(self, at: float) -> list[Advertisement]:
        """Devices heard at that moment or later, the strongest first."""
        return sorted((each for each in self._latest.values() if each.at >= at), key=lambda each: -each.rssi)
