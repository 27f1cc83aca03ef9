"""A Bluetooth adapter as bleak's simulated backend sees it: shared scan, one connect at a time."""

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
"""BlueZ forgets a device that was not heard for this long; a connect then needs a new scan."""
_CLEAN_UP_S = 2.0


class AdvertisementListener(Protocol):
    """A scanner that wants to hear advertisements."""

    def on_advertisement(self, advertisement: Advertisement) -> None:
        """One advertisement, scan response included."""


class Radio:
    """An adapter that scanners and clients share.

    Its device may go away and come back, as an adapter that is unplugged does: meanwhile nothing can be
    started, and scans that were running go on when it is back.
    """

    def __init__(self) -> None:
        self._device: Device | None = None
        self._listeners: dict[AdvertisementListener, bool] = {}
        self._heard: dict[str, tuple[hci.Address, float]] = {}
        self._scan_lock, self._connect_lock = asyncio.Lock(), asyncio.Lock()

    @property
    def device(self) -> Device:
        """Bumble's device.

        Raises:
            BleakBluetoothNotAvailableError: the adapter is gone.
        """
        if self._device is None:
            raise BleakBluetoothNotAvailableError(
                "the simulated radio is not there", BleakBluetoothNotAvailableReason.POWERED_OFF
            )
        return self._device

    async def attach(self, device: Device) -> None:
        """Use this powered device from now on."""
        self._device = device
        device.on("advertisement", self._on_advertisement)
        if self._listeners:
            await device.start_scanning(active=any(self._listeners.values()))

    def detach(self) -> None:
        """The device is gone."""
        self._device = None
        self._heard.clear()

    def address_of(self, address: str) -> hci.Address | None:
        """The full address of a device heard lately; None once it is forgotten."""
        known, at = self._heard.get(address.upper(), (None, 0.0))
        return known if time.monotonic() - at < FORGET_AFTER_S else None

    def heard(self, address: hci.Address) -> None:
        """Note a sign of life."""
        self._heard[address_text(address)] = (address, time.monotonic())

    def forget(self, address: str) -> None:
        """Know this device no longer."""
        self._heard.pop(address.upper(), None)

    async def listen(self, listener: AdvertisementListener, *, active: bool) -> None:
        """Deliver advertisements to this scanner; the first one starts the scan."""
        async with self._scan_lock:
            device = self.device
            if not self._listeners:
                await device.start_scanning(active=active)
            self._listeners[listener] = active

    async def ignore(self, listener: AdvertisementListener) -> None:
        """Deliver no more; the last scanner stops the scan."""
        async with self._scan_lock:
            self._listeners.pop(listener, None)
            if not self._listeners and self._device and self._device.is_scanning:
                with suppress(BaseBumbleError, hci.HCI_Error):
                    await self._device.stop_scanning()

    async def connect(self, address: hci.Address) -> Connection:
        """Connect, waiting until the peer advertises; a cancelled wait leaves the radio free.

        Raises:
            BleakError: the connection failed.
        """
        async with self._connect_lock:  # a controller takes one pending connection
            device = self.device
            pending = asyncio.ensure_future(device.connect_le(address, timeout=None))
            try:
                return await asyncio.shield(pending)
            except BaseBumbleError as error:
                raise BleakError(f"connection failed: {error}") from error
            except asyncio.CancelledError:
                if pending.cancelled():  # Bumble cancels it when the adapter goes
                    raise BleakError("connection failed: the radio is gone") from None
                await self._give_up(device, pending)
                raise

    @staticmethod
    async def _give_up(device: Device, pending: asyncio.Future[Connection]) -> None:
        with suppress(BaseBumbleError, hci.HCI_Error, TimeoutError):
            async with asyncio.timeout(_CLEAN_UP_S):
                await device.cancel_connection()  # type: ignore[no-untyped-call]
                connection = await pending  # it may have come just in time
                await connection.disconnect()
        pending.cancel()

    def _on_advertisement(self, advertisement: Advertisement) -> None:
        self.heard(advertisement.address)
        for listener in list(self._listeners):
            listener.on_advertisement(advertisement)


def address_text(address: hci.Address) -> str:
    """An address as bleak writes it: AA:BB:CC:DD:EE:FF."""
    return str(address.to_string(with_type_qualifier=False)).upper()
