"""A Bluetooth peripheral on the virtual air: power, advertising, one connection; no profile of its own."""

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

from firmware_sim.radio.bonds import kept_bonds
from firmware_sim.radio.virtual_radio import VirtualLink

ADVERTISING_INTERVAL_MS = 100.0
_FLAGS = (AdvertisingData.FLAGS, bytes([0x06]))  # general discoverable, LE only

Property, Permission = Characteristic.Properties, Characteristic.Permissions


class RadioState(StrEnum):
    """What a peripheral is doing on the air."""

    OFF = "off"
    ADVERTISING = "advertising"
    CONNECTED = "connected"


class RadioDevice:
    """One peripheral.

    Args:
        link: the air.
        number: unique on this air, part of the address.
        name: what it advertises.
        advertised: UUID of the service it advertises.
        mtu: largest ATT packet it takes.
        secure: what is protected goes over links only that were paired with LE Secure Connections.
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
        """Whether a gateway holds a connection."""
        return self._connection is not None

    @property
    def state(self) -> RadioState:
        """What it is doing; whether a connection is secured is a matter of the connection."""
        if self._connection:
            return RadioState.CONNECTED
        return RadioState.ADVERTISING if self._device.is_advertising else RadioState.OFF

    @property
    def secured(self) -> bool:
        """Whether its connection is encrypted."""
        return self._connection is not None and bool(self._connection.is_encrypted)

    @property
    def address(self) -> str:
        """Its Bluetooth address, as AA:BB:CC:DD:EE:FF."""
        return str(self._device.random_address.to_string(with_type_qualifier=False)).upper()

    def offer(self, services: Sequence[Service]) -> None:
        """Add GATT services; before the start."""
        self._device.add_services(list(services))

    def protect_subscriptions(self, service: Service) -> None:
        """Let only encrypted links subscribe to this service; after `offer`."""
        for attribute in self._device.gatt_server.attributes:
            inside = service.handle <= attribute.handle <= service.end_group_handle
            if inside and attribute.type == GATT_CLIENT_CHARACTERISTIC_CONFIGURATION_DESCRIPTOR:
                attribute.permissions |= Permission.WRITE_REQUIRES_ENCRYPTION

    async def start(self) -> None:
        """Switch the radio on and advertise."""
        await self._device.power_on()
        await self.advertise()

    async def stop(self) -> None:
        """Leave the air."""
        await self.hide()
        await self.disconnect()
        self.controller.fall_silent()
        self._link.remove_controller(self.controller)

    async def advertise(self) -> None:
        """Be found, except while connected; advertising comes back by itself after a connection."""
        self._visible = True
        await self._update_advertising()

    async def hide(self) -> None:
        """Stop advertising, as out of range."""
        self._visible = False
        await self._update_advertising()

    async def disconnect(self) -> None:
        """End the connection by agreement."""
        if self._connection:
            with suppress(BaseBumbleError, hci.HCI_Error):
                await self._connection.disconnect()

    async def notify(self, characteristic: Characteristic[bytes], value: bytes) -> None:
        """Notify whoever has subscribed; nothing leaves a secure device in the clear."""
        if (connection := self._connection) and (self.secured or not self.secure):
            await self._device.notify_subscriber(connection, characteristic, value)

    async def indicate(self, characteristic: Characteristic[bytes], value: bytes) -> bool:
        """Indicate to whoever has subscribed; False where that is not confirmed."""
        if connection := self._connection:
            try:
                await self._device.indicate_subscriber(connection, characteristic, value)
            except (TimeoutError, BaseBumbleError):
                return False
        return self._connection is not None

    def later(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Do something beside what is being answered now."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def keep_bonds(self) -> None:
        """Remember bonds beyond this process; before the start."""
        self._device.keystore = kept_bonds("bracelets", self.address)

    async def forget_bonds(self) -> None:
        """Lose all keys, as after a factory reset; who holds the others finds its bond stale."""
        if self._device.keystore:
            await self._device.keystore.delete_all()

    def link_lost(self) -> None:
        """Called when a connection has ended."""

    async def _update_advertising(self) -> None:
        """Advertise or not: the service in the advertisement, the name in the scan response (31 bytes)."""
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
        """Legacy pairing can be listened in on: a secure device will have none of it."""
        if self.secure and not connection.sc:
            self.later(self.forget_bonds())
            self.later(self.disconnect())

    def _on_disconnection(self, _reason: int) -> None:
        self._connection = None
        self.link_lost()
        self.later(self._update_advertising())


def readable(uuid: str | UUID, value: Callable[[], bytes], *, secure: bool = False) -> Characteristic[bytes]:
    """A characteristic to read and to be notified of, whose value is asked for each time.

    Args:
        secure: over an encrypted link only.
    """
    return Characteristic[bytes](
        uuid,
        Property.READ | Property.NOTIFY,
        Permission.READABLE | (Permission.READ_REQUIRES_ENCRYPTION if secure else Permission(0)),
        CharacteristicValue(read=lambda _connection: value()),
    )


def notified(uuid: str | UUID) -> Characteristic[bytes]:
    """A characteristic to be notified of."""
    return Characteristic[bytes](uuid, Property.NOTIFY, Permission(0))


def indicated(uuid: str | UUID) -> Characteristic[bytes]:
    """A characteristic that is indicated."""
    return Characteristic[bytes](uuid, Property.INDICATE, Permission(0))


def _service(uuid: UUID) -> tuple[int, bytes]:
    """The advertising field that lists a service."""
    raw = bytes(uuid)
    kind = (
        AdvertisingData.COMPLETE_LIST_OF_16_BIT_SERVICE_CLASS_UUIDS
        if len(raw) == 2
        else AdvertisingData.COMPLETE_LIST_OF_128_BIT_SERVICE_CLASS_UUIDS
    )
    return kind, raw
