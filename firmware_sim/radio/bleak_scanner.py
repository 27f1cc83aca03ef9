"""bleak's scanner on a simulated radio."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from bleak.backends.scanner import AdvertisementData, AdvertisementDataCallback, BaseBleakScanner
from bleak.uuids import normalize_uuid_str
from bumble.core import UUID, AdvertisingData
from bumble.device import Advertisement

from firmware_sim.radio.bleak_radio import Radio, address_text

_Type = AdvertisingData.Type
_UUID_SIZES = {
    _Type.INCOMPLETE_LIST_OF_16_BIT_SERVICE_CLASS_UUIDS: 2,
    _Type.COMPLETE_LIST_OF_16_BIT_SERVICE_CLASS_UUIDS: 2,
    _Type.INCOMPLETE_LIST_OF_32_BIT_SERVICE_CLASS_UUIDS: 4,
    _Type.COMPLETE_LIST_OF_32_BIT_SERVICE_CLASS_UUIDS: 4,
    _Type.INCOMPLETE_LIST_OF_128_BIT_SERVICE_CLASS_UUIDS: 16,
    _Type.COMPLETE_LIST_OF_128_BIT_SERVICE_CLASS_UUIDS: 16,
}
_SERVICE_DATA_UUID_SIZES = {
    _Type.SERVICE_DATA_16_BIT_UUID: 2,
    _Type.SERVICE_DATA_32_BIT_UUID: 4,
    _Type.SERVICE_DATA_128_BIT_UUID: 16,
}


@dataclass(slots=True)
class _AdvertisedData:
    """Data one device has advertised so far; advertisement and scan response arrive separately."""

    name: str | None = None
    manufacturer_data: dict[int, bytes] = field(default_factory=dict)
    service_data: dict[str, bytes] = field(default_factory=dict)
    service_uuids: list[str] = field(default_factory=list)
    tx_power: int | None = None

    def add(self, kind: int, value: bytes) -> None:
        """Add one structure of an advertisement."""
        if kind in (_Type.COMPLETE_LOCAL_NAME, _Type.SHORTENED_LOCAL_NAME):
            self.name = value.decode(errors="replace")
        elif kind == _Type.MANUFACTURER_SPECIFIC_DATA:
            self.manufacturer_data[int.from_bytes(value[:2], "little")] = value[2:]
        elif kind == _Type.TX_POWER_LEVEL:
            self.tx_power = int.from_bytes(value[:1], "little", signed=True)
        elif size := _UUID_SIZES.get(_Type(kind)):
            for at in range(0, len(value) - size + 1, size):
                uuid = uuid_text(UUID.from_bytes(value[at : at + size]))
                if uuid not in self.service_uuids:
                    self.service_uuids.append(uuid)
        elif size := _SERVICE_DATA_UUID_SIZES.get(_Type(kind)):
            self.service_data[uuid_text(UUID.from_bytes(value[:size]))] = value[size:]


class BumbleScanner(BaseBleakScanner):
    """Scanner that uses the radio set on the subclass."""

    radio: ClassVar[Radio]

    def __init__(
        self,
        detection_callback: AdvertisementDataCallback | None,
        service_uuids: list[str] | None,
        scanning_mode: Literal["active", "passive"] = "active",
        **_kwargs: Any,
    ) -> None:
        super().__init__(detection_callback, service_uuids)
        self._active = scanning_mode == "active"
        self._devices: dict[str, _AdvertisedData] = {}

    async def start(self) -> None:
        """Start scanning."""
        self.seen_devices = {}
        self._devices = {}
        await self.radio.add_listener(self, active=self._active)

    async def stop(self) -> None:
        """Stop scanning."""
        await self.radio.remove_listener(self)

    def on_advertisement(self, advertisement: Advertisement) -> None:
        """Report one advertisement, merged with what the device advertised before."""
        address = address_text(advertisement.address)
        advertised = self._devices.setdefault(address, _AdvertisedData())
        for kind, value in advertisement.data.ad_structures:
            advertised.add(kind, bytes(value))
        data = AdvertisementData(
            local_name=advertised.name,
            manufacturer_data=dict(advertised.manufacturer_data),
            service_data=dict(advertised.service_data),
            service_uuids=list(advertised.service_uuids),
            tx_power=advertised.tx_power,
            rssi=advertisement.rssi,
            platform_data=(advertisement,),
        )
        if self.is_allowed_uuid(data.service_uuids):
            name = advertised.name or address.replace(":", "-")
            details = {"address": advertisement.address}
            device = self.create_or_update_device(address, address, name, details, data)
            self.call_detection_callbacks(device, data)


def uuid_text(uuid: UUID) -> str:
    """Return a UUID in bleak's form: 128 bits, lower case."""
    return normalize_uuid_str(uuid.to_hex_str("-"))
