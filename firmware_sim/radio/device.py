"""A simulated Bluetooth peripheral: power, advertising, one connection; without a profile."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from enum import StrEnum
from typing import Any

from bumble import hci
from bumble.core import UUID, AdvertisingData, BaseBumbleError
from bumble.device import Connection
from bumble.gatt import (
    GATT_CLIENT_CHARACTERISTIC_CONFIGURATION_DESCRIPTOR,
    Characteristic,
    CharacteristicValue,
    Service,
)

from firmware_sim.radio.bonds import bond_store
from firmware_sim.radio.virtual_radio import VirtualLink

ADVERTISING_INTERVAL_MS = 100.0
_FLAGS = (AdvertisingData.FLAGS, bytes([0x06]))  # general discoverable, LE only

Property, Permission = Characteristic.Properties, Characteristic.Permissions


class RadioState(StrEnum):
    """State of a peripheral's radio."""

    OFF = "off"
    ADVERTISING = "advertising"
    CONNECTED = "connected"


class RadioDevice:
    """One peripheral.

    Args:
        link: the radio link.
        number: unique on this link, part of the address.
        name: the name it advertises.
        advertised: UUID of the service it advertises.
        mtu: largest ATT packet it accepts.
        secure: send protected values only over links paired with LE Secure Connections.
    """

    def __init__(
        self,
        link: VirtualLink,
        number: int,
        name: str,
        advertised: UUID,
        *,
        mtu: int = 247,
        secure: bool = False,
    ) -> None:
        self.name, self.secure, self._advertised, self._link = name, secure, advertised, link
        self._device, self.controller = link.device(name, number)
        self._device.gatt_server.max_mtu = mtu
        self._device.on("connection", self._on_connection)
        self._connection: Connection | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._visible, self._advertising = False, asyncio.Lock()

    @property
    def connected(self) -> bool:
        """Whether a gateway is connected."""
        return self._connection is not None

    @property
    def state(self) -> RadioState:
        """State of the radio."""
        if self._connection:
            return RadioState.CONNECTED
        return RadioState.ADVERTISING if self._device.is_advertising else RadioState.OFF

    @property
    def secured(self) -> bool:
        """Whether the connection is encrypted."""
        return self._connection is not None and bool(self._connection.is_encrypted)

    @property
    def address(self) -> str:
        """Its Bluetooth address, AA:BB:CC:DD:EE:FF."""
        return str(self._device.random_address.to_string(with_type_qualifier=False)).upper()

    def add_services(self, services: Sequence[Service]) -> None:
        """Add GATT services; call it before `start`."""
        self._device.add_services(list(services))

    def protect_subscriptions(self, service: Service) -> None:
        """Require encryption to subscribe to this service; call it after `add_services`."""
        for attribute in self._device.gatt_server.attributes:
            inside = service.handle <= attribute.handle <= service.end_group_handle
            if inside and attribute.type == GATT_CLIENT_CHARACTERISTIC_CONFIGURATION_DESCRIPTOR:
                attribute.permissions |= Permission.WRITE_REQUIRES_ENCRYPTION

    async def start(self) -> None:
        """Switch the radio on and advertise."""
        await self._device.power_on()
        await self.advertise()

    async def stop(self) -> None:
        """Disconnect, switch the radio off and remove it from the link."""
        await self.hide()
        await self.disconnect()
        self.controller.stop_radio()
        self._link.remove_controller(self.controller)

    async def advertise(self) -> None:
        """Advertise whenever it is not connected."""
        self._visible = True
        await self._update_advertising()

    async def hide(self) -> None:
        """Stop advertising, as when out of range."""
        self._visible = False
        await self._update_advertising()

    async def disconnect(self) -> None:
        """Disconnect with the normal procedure."""
        if self._connection:
            with suppress(BaseBumbleError, hci.HCI_Error):
                await self._connection.disconnect()

    async def notify(self, characteristic: Characteristic[bytes], value: bytes) -> None:
        """Notify the subscriber, if any; a secure device sends nothing unencrypted."""
        if (connection := self._connection) and (self.secured or not self.secure):
            await self._device.notify_subscriber(connection, characteristic, value)

    async def indicate(self, characteristic: Characteristic[bytes], value: bytes) -> bool:
        """Indicate to the subscriber, if any; return False if it is not confirmed."""
        if connection := self._connection:
            try:
                await self._device.indicate_subscriber(connection, characteristic, value)
            except (TimeoutError, BaseBumbleError):
                return False
        return self._connection is not None

    def run_in_background(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run a coroutine as a background task."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def persist_bonds(self) -> None:
        """Keep bonds on disk; call it before `start`."""
        self._device.keystore = bond_store("bracelets", self.address)

    async def forget_bonds(self) -> None:
        """Delete all keys, as a factory reset does; peers are left with stale bonds."""
        if self._device.keystore:
            await self._device.keystore.delete_all()

    def on_link_lost(self) -> None:
        """Handle the end of a connection; subclasses override it."""

    async def _update_advertising(self) -> None:
        """Start or stop advertising; 31 bytes hold the service, so the name is in the scan response."""
        async with self._advertising:
            if not self._visible:
                await self._device.stop_advertising()
            elif not self._connection:
                await self._device.start_advertising(
                    advertising_data=bytes(AdvertisingData([_FLAGS, _service(self._advertised)])),
                    scan_response_data=bytes(
                        AdvertisingData([(AdvertisingData.COMPLETE_LOCAL_NAME, self.name.encode())])
                    ),
                    advertising_interval_min=ADVERTISING_INTERVAL_MS,
                    advertising_interval_max=ADVERTISING_INTERVAL_MS,
                )

    def _on_connection(self, connection: Connection) -> None:
        self._connection = connection
        connection.on("disconnection", self._on_disconnection)
        connection.on("pairing", lambda _keys: self._on_pairing(connection))

    def _on_pairing(self, connection: Connection) -> None:
        """Reject legacy pairing on a secure device: it can be eavesdropped on."""
        if self.secure and not connection.sc:
            self.run_in_background(self.forget_bonds())
            self.run_in_background(self.disconnect())

    def _on_disconnection(self, _reason: int) -> None:
        self._connection = None
        self.on_link_lost()
        self.run_in_background(self._update_advertising())


def readable(uuid: str | UUID, value: Callable[[], bytes], *, secure: bool = False) -> Characteristic[bytes]:
    """Return a characteristic that can be read and notified.

    Args:
        uuid: its UUID.
        value: called for the value at each read.
        secure: require an encrypted link to read it.
    """
    return Characteristic[bytes](
        uuid,
        Property.READ | Property.NOTIFY,
        Permission.READABLE | (Permission.READ_REQUIRES_ENCRYPTION if secure else Permission(0)),
        CharacteristicValue(read=lambda _connection: value()),
    )


def notified(uuid: str | UUID) -> Characteristic[bytes]:
    """Return a characteristic that can be notified."""
    return Characteristic[bytes](uuid, Property.NOTIFY, Permission(0))


def indicated(uuid: str | UUID) -> Characteristic[bytes]:
    """Return a characteristic that can be indicated."""
    return Characteristic[bytes](uuid, Property.INDICATE, Permission(0))


def _service(uuid: UUID) -> tuple[int, bytes]:
    """Return the advertising field that lists a service."""
    raw = bytes(uuid)
    kind = (
        AdvertisingData.COMPLETE_LIST_OF_16_BIT_SERVICE_CLASS_UUIDS
        if len(raw) == 2
        else AdvertisingData.COMPLETE_LIST_OF_128_BIT_SERVICE_CLASS_UUIDS
    )
    return kind, raw
