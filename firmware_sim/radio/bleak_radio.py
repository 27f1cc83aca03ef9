"""A simulated Bluetooth adapter for bleak: scanners share one scan, connections are made one at a time."""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import suppress
from typing import Protocol

from bleak.exc import BleakBluetoothNotAvailableError, BleakBluetoothNotAvailableReason, BleakError
from bumble import hci
from bumble.core import BaseBumbleError
from bumble.device import Advertisement, Connection, Device

log = logging.getLogger(__name__)

FORGET_AFTER_S = 30.0
"""BlueZ drops a device it has not seen for this long; connecting then needs a new scan."""
_CLEAN_UP_S = 2.0


class AdvertisementListener(Protocol):
    """A scanner that receives advertisements."""

    def on_advertisement(self, advertisement: Advertisement) -> None:
        """Handle one advertisement or scan response."""


class Radio:
    """An adapter shared by scanners and clients.

    Its device may disappear and reappear, like an adapter that is unplugged: meanwhile nothing can be
    started, and running scans resume when it is back.
    """

    def __init__(self) -> None:
        self._device: Device | None = None
        self._listeners: dict[AdvertisementListener, bool] = {}
        self._last_seen: dict[str, tuple[hci.Address, float]] = {}
        self._scan_lock, self._connect_lock = asyncio.Lock(), asyncio.Lock()

    @property
    def device(self) -> Device:
        """The Bumble device.

        Raises:
            BleakBluetoothNotAvailableError: there is no adapter now.
        """
        if self._device is None:
            raise BleakBluetoothNotAvailableError(
                "the simulated radio is not connected", BleakBluetoothNotAvailableReason.POWERED_OFF
            )
        return self._device

    async def attach(self, device: Device) -> None:
        """Use this device, which is already powered on."""
        self._device = device
        device.on("advertisement", self._on_advertisement)
        if self._listeners:
            await device.start_scanning(active=any(self._listeners.values()))

    def detach(self) -> None:
        """Stop using the device: it is gone."""
        self._device = None
        self._last_seen.clear()

    def address_of(self, address: str) -> hci.Address | None:
        """Return the full address of a device seen recently; None if it was dropped."""
        full_address, seen_at = self._last_seen.get(address.upper(), (None, 0.0))
        return full_address if time.monotonic() - seen_at < FORGET_AFTER_S else None

    def mark_seen(self, address: hci.Address) -> None:
        """Record that a device was seen."""
        self._last_seen[address_text(address)] = (address, time.monotonic())

    def forget(self, address: str) -> None:
        """Drop a device from the devices seen."""
        self._last_seen.pop(address.upper(), None)

    async def add_listener(self, listener: AdvertisementListener, *, active: bool) -> None:
        """Deliver advertisements to this scanner; the first scanner starts the scan."""
        async with self._scan_lock:
            device = self.device
            if not self._listeners:
                await device.start_scanning(active=active)
            self._listeners[listener] = active

    async def remove_listener(self, listener: AdvertisementListener) -> None:
        """Stop delivering to this scanner; the last scanner stops the scan."""
        async with self._scan_lock:
            self._listeners.pop(listener, None)
            if not self._listeners and self._device and self._device.is_scanning:
                with suppress(BaseBumbleError, hci.HCI_Error):
                    await self._device.stop_scanning()

    async def connect(self, address: hci.Address) -> Connection:
        """Connect once the peer advertises; cancelling leaves the radio free.

        Raises:
            BleakError: the connection failed.
        """
        async with self._connect_lock:  # a controller allows one pending connection
            device = self.device
            pending = asyncio.ensure_future(device.connect_le(address, timeout=None))
            try:
                return await asyncio.shield(pending)
            except BaseBumbleError as error:
                raise BleakError(f"connection failed: {error}") from error
            except asyncio.CancelledError:
                if pending.cancelled():  # Bumble cancels it when the adapter is gone
                    raise BleakError("connection failed: the radio is gone") from None
                await self._cancel_connection(device, pending)
                raise

    @staticmethod
    async def _cancel_connection(device: Device, pending: asyncio.Future[Connection]) -> None:
        with suppress(BaseBumbleError, hci.HCI_Error, TimeoutError):
            async with asyncio.timeout(_CLEAN_UP_S):
                await device.cancel_connection()  # type: ignore[no-untyped-call]
                connection = await pending  # it may have been made in the meantime
                await connection.disconnect()
        pending.cancel()

    def _on_advertisement(self, advertisement: Advertisement) -> None:
        self.mark_seen(advertisement.address)
        for listener in list(self._listeners):
            listener.on_advertisement(advertisement)


def address_text(address: hci.Address) -> str:
    """Return an address in bleak's form, AA:BB:CC:DD:EE:FF."""
    return str(address.to_string(with_type_qualifier=False)).upper()
