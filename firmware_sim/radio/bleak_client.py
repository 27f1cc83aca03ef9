"""bleak's GATT client on a simulated radio; it behaves like BlueZ.

BlueZ calls the notification callback also for a read of a subscribed characteristic, replaces the callback on
a second `start_notify`, hides the GAP service, pairs by itself when a characteristic requires it, knows only
devices seen recently, and reports an MTU of 23 (`max_write_without_response_size` is correct).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, ClassVar, TypeVar

from bleak import BleakScanner
from bleak.args import SizedBuffer
from bleak.assigned_numbers import gatt_char_props_to_strs
from bleak.backends.characteristic import BleakGATTCharacteristic
from bleak.backends.client import BaseBleakClient, NotifyCallback
from bleak.backends.descriptor import BleakGATTDescriptor
from bleak.backends.device import BLEDevice
from bleak.backends.service import BleakGATTService, BleakGATTServiceCollection
from bleak.exc import BleakDeviceNotFoundError, BleakError, BleakGATTProtocolError, BleakGATTProtocolErrorCode
from bleak.uuids import normalize_uuid_str
from bumble import att, hci
from bumble.core import BaseBumbleError
from bumble.device import Connection, Peer
from bumble.gatt import GATT_CHARACTERISTIC_ATTRIBUTE_TYPE
from bumble.gatt_client import ServiceProxy

from firmware_sim.radio.bleak_radio import Radio
from firmware_sim.radio.bleak_scanner import uuid_text

log = logging.getLogger(__name__)

_Code = BleakGATTProtocolErrorCode
_HIDDEN_SERVICES = {normalize_uuid_str("1800")}
_LARGEST_MTU = 517
_BLUEZ_MTU = 23
_ATT_HEADER = 3
_DISCONNECT_S = 2.0
_NEEDS_SECURITY = (_Code.INSUFFICIENT_AUTHENTICATION, _Code.INSUFFICIENT_ENCRYPTION)
_T = TypeVar("_T")


class BumbleClient(BaseBleakClient):
    """GATT client of the radio set on the subclass."""

    radio: ClassVar[Radio]

    def __init__(
        self,
        address_or_ble_device: BLEDevice | str,
        *,
        disconnected_callback: Callable[[], None] | None,
        timeout: float,
        services: set[str] | None = None,
        **_kwargs: Any,
    ) -> None:
        super().__init__(address_or_ble_device, disconnected_callback=disconnected_callback, timeout=timeout)
        self._connect_timeout_s, self._on_disconnected = timeout, disconnected_callback
        self._found_by_scan = isinstance(address_or_ble_device, BLEDevice)
        self._name = address_or_ble_device.name if isinstance(address_or_ble_device, BLEDevice) else None
        self._wanted_services = services
        self._connection: Connection | None = None
        self._peer: Peer | None = None
        self._callbacks: dict[int, NotifyCallback] = {}

    @property
    def name(self) -> str:
        """The advertised name, else the address."""
        return self._name or self.address.replace(":", "-")

    @property
    def mtu_size(self) -> int:
        """Always 23, like BlueZ."""
        return _BLUEZ_MTU

    @property
    def is_connected(self) -> bool:
        """Whether the link is up."""
        return self._connection is not None

    def set_disconnected_callback(self, callback: Callable[[], None] | None, **_kwargs: Any) -> None:
        """Set the function called when the link ends; None removes it."""
        self._on_disconnected = callback

    async def connect(self, pair: bool, **kwargs: Any) -> None:
        """Connect and discover services.

        Raises:
            BleakDeviceNotFoundError: the device was not seen recently and a scan does not find it.
            BleakError: the connection failed, or there is one already.
            TimeoutError: no connection in time.
        """
        if self._connection:
            raise BleakError("Client is already connected")
        timeout = float(kwargs.get("timeout", self._connect_timeout_s))
        address = await self._find(timeout)
        async with asyncio.timeout(timeout):
            connection = await self.radio.connect(address)
            self._connection, self._peer = connection, Peer(connection)
            connection.on("disconnection", self._on_disconnection)
            try:
                await self._perform(lambda peer: peer.request_mtu(_LARGEST_MTU))
                if await self._bonded(connection):
                    await self._perform(lambda peer: peer.connection.encrypt())
                if pair:
                    await self.pair()
                self.services = await self._perform(self._discover)
            except BaseException:
                await self.disconnect()
                raise

    async def _find(self, timeout_s: float) -> hci.Address:
        if (address := self.radio.address_of(self.address)) is None and not self._found_by_scan:
            await BleakScanner.find_device_by_address(self.address, timeout_s)
            address = self.radio.address_of(self.address)
        if address is None:
            raise BleakDeviceNotFoundError(self.address, f"Device with address {self.address} was not found.")
        return address

    def _on_disconnection(self, _reason: int) -> None:
        if connection := self._connection:
            self.radio.mark_seen(connection.peer_address)
        self._connection = self._peer = self.services = None
        self._callbacks.clear()
        if self._on_disconnected:
            self._on_disconnected()

    async def disconnect(self) -> None:
        """Disconnect, if connected."""
        if connection := self._connection:
            with suppress(BaseBumbleError, TimeoutError):
                async with asyncio.timeout(_DISCONNECT_S):
                    await connection.disconnect()

    async def pair(self, *_args: Any, **_kwargs: Any) -> None:
        """Pair and encrypt the link."""
        await self._perform(lambda peer: peer.connection.pair())

    async def unpair(self) -> None:
        """Delete the bond, drop the device from the devices seen, and disconnect."""
        if keys := self.radio.device.keystore:
            for name, _ in await keys.get_all():
                if name.partition("/")[0].upper() == self.address.upper():
                    await keys.delete(name)
        await self.disconnect()
        self.radio.forget(self.address)

    async def _bonded(self, connection: Connection) -> bool:
        keys = self.radio.device.keystore
        return bool(keys and await keys.get(str(connection.peer_address)))

    async def read_gatt_char(self, characteristic: BleakGATTCharacteristic, **_kwargs: Any) -> bytearray:
        """Read a characteristic from the device, never from a cache."""
        value = await self._read(characteristic.obj)
        if callback := self._callbacks.get(characteristic.handle):
            asyncio.get_running_loop().call_soon(callback, bytearray(value))
        return value

    async def read_gatt_descriptor(self, descriptor: BleakGATTDescriptor, **_kwargs: Any) -> bytearray:
        """Read a descriptor from the device, never from a cache."""
        return await self._read(descriptor.obj)

    async def _read(self, attribute: Any) -> bytearray:
        return bytearray(await self._secured(lambda peer: peer.gatt_client.read_value(attribute)))

    async def write_gatt_char(
        self, characteristic: BleakGATTCharacteristic, data: SizedBuffer, response: bool
    ) -> None:
        """Write a characteristic, with or without a response from the device."""
        if not response and len(data) > characteristic.max_write_without_response_size:
            raise BleakError("value longer than max_write_without_response_size")
        await self._write(characteristic.obj, bytes(data), response)

    async def write_gatt_descriptor(self, descriptor: BleakGATTDescriptor, data: SizedBuffer) -> None:
        """Write a descriptor and wait for the response."""
        await self._write(descriptor.obj, bytes(data), True)

    async def _write(self, attribute: Any, data: bytes, response: bool) -> None:
        await self._secured(lambda peer: peer.gatt_client.write_value(attribute, data, response))

    async def start_notify(
        self, characteristic: BleakGATTCharacteristic, callback: NotifyCallback, **_kwargs: Any
    ) -> None:
        """Subscribe; values may arrive before this returns. A second call replaces the callback."""
        handle = characteristic.handle
        already_subscribed = handle in self._callbacks
        self._callbacks[handle] = callback
        if already_subscribed:
            return

        def on_value(value: bytes) -> None:
            if current := self._callbacks.get(handle):
                current(bytearray(value))

        try:
            await self._secured(lambda peer: peer.gatt_client.subscribe(characteristic.obj, on_value))
        except BaseException:
            self._callbacks.pop(handle, None)
            raise

    async def stop_notify(self, characteristic: BleakGATTCharacteristic) -> None:
        """Unsubscribe."""
        self._callbacks.pop(characteristic.handle, None)
        await self._perform(lambda peer: peer.gatt_client.unsubscribe(characteristic.obj))

    async def _secured(self, operation: Callable[[Peer], Awaitable[_T]]) -> _T:
        try:
            return await self._perform(operation)
        except BleakGATTProtocolError as error:
            if error.code not in _NEEDS_SECURITY or not self._connection or self._connection.is_encrypted:
                raise
        await self.pair()
        return await self._perform(operation)

    async def _perform(self, operation: Callable[[Peer], Awaitable[_T]]) -> _T:
        """Run one operation on the link; raise BleakError if the link ends."""
        connection, peer = self._connection, self._peer
        if connection is None or peer is None:
            raise BleakError("Not connected")
        try:
            result: _T = await connection.cancel_on_disconnection(operation(peer))
            return result
        except att.ATT_Error as error:
            raise BleakGATTProtocolError(error.error_code) from error
        except (BaseBumbleError, TimeoutError) as error:
            raise BleakError(str(error) or "the device does not respond") from error
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if self._connection is connection or (task and task.cancelling()):
                raise
            raise BleakError("disconnected") from None

    async def _discover(self, peer: Peer) -> BleakGATTServiceCollection:
        collection = BleakGATTServiceCollection()
        for service_proxy in await peer.discover_services():
            uuid = uuid_text(service_proxy.uuid)
            if uuid in _HIDDEN_SERVICES or (self._wanted_services and uuid not in self._wanted_services):
                continue
            service = BleakGATTService(service_proxy, service_proxy.handle, uuid)
            collection.add_service(service)
            await self._discover_characteristics(service_proxy, service, collection)
        return collection

    async def _discover_characteristics(
        self, service_proxy: ServiceProxy, service: BleakGATTService, collection: BleakGATTServiceCollection
    ) -> None:
        for proxy in await service_proxy.discover_characteristics():
            characteristic = BleakGATTCharacteristic(
                proxy,
                proxy.handle - 1,  # BlueZ uses the handle of the declaration, which precedes the value
                uuid_text(proxy.uuid),
                list(gatt_char_props_to_strs(proxy.properties)),
                self._largest_write,
                service,
            )
            collection.add_characteristic(characteristic)
            for descriptor in await proxy.discover_descriptors():
                if descriptor.type != GATT_CHARACTERISTIC_ATTRIBUTE_TYPE:
                    collection.add_descriptor(
                        BleakGATTDescriptor(
                            descriptor, descriptor.handle, uuid_text(descriptor.type), characteristic
                        )
                    )

    def _largest_write(self) -> int:
        return (self._connection.att_mtu if self._connection else _BLUEZ_MTU) - _ATT_HEADER
