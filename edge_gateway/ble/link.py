"""Keeps one bracelet connected: waits for it, connects, runs a session, and begins again."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Protocol

from bleak import BleakClient

from edge_gateway.ble import missing_value
from edge_gateway.ble.adapter import RADIO_ERRORS, Adapter, reason_of
from edge_gateway.ble.advertisements import Advertisement
from edge_gateway.ble.link_state import Link, LinkState
from edge_gateway.ble.peripheral import BlePeripheral, Peripheral, serial_number
from edge_gateway.ble.session import BraceletSession, DeviceAssignment, ProgressStore
from edge_gateway.ble.standard_session import StandardSession
from edge_gateway.config import BleConfig
from edge_gateway.errors import (
    LinkLost,
    OutboxUnavailable,
    RadioUnavailable,
    RequestRefused,
    WrongBracelet,
)
from edge_gateway.inbox import Inbox
from edge_gateway.state import GatewayState
from vitals.gatt.services import BRACELET

log = logging.getLogger(__name__)

_DISCONNECT_S = 5.0
_FRESH_S = 10.0


class DeviceStore(ProgressStore, Protocol):
    """Where bracelets are known by their addresses, and how far their records are committed."""

    async def addresses(self) -> dict[str, str]:
        """Bluetooth address of each bracelet that was connected once."""

    async def save_address(self, device_id: str, address: str) -> None:
        """Know a bracelet by this address from now on."""

    async def delete_address(self, device_id: str) -> bool:
        """Know a bracelet no longer; returns whether it was known."""


@dataclass(frozen=True, slots=True)
class LinkContext:
    """What all links of one adapter share.

    Attributes:
        slots: as many as the adapter can hold links.
        radio_was_busy: called after each attempt to connect: nobody could be heard meanwhile.
    """

    config: BleConfig
    adapter: Adapter
    slots: asyncio.Semaphore
    store: DeviceStore
    inbox: Inbox
    state: GatewayState
    radio_was_busy: Callable[[], None]


class BraceletLink:
    """One bracelet of the list.

    Attributes:
        address: its Bluetooth address, once that is known; then nothing else is connected under its name.
    """

    def __init__(self, assignment: DeviceAssignment, address: str | None, shared: LinkContext) -> None:
        self.assignment, self.address, self._shared = assignment, address, shared
        self.link = self._new_link()
        self._advertisement: Advertisement | None = None
        self._seen = asyncio.Event()

    def _new_link(self) -> Link:
        """A link that has everything before it; what was seen until now may be gone."""
        return Link(self._shared.config.silence_s, random.random, since=time.monotonic())

    @property
    def _device_id(self) -> str:
        return self.assignment.device_id

    def seen(self, advertisement: Advertisement) -> None:
        """Note an advertisement."""
        self._advertisement = advertisement
        self._shared.state.rssi(self._device_id, advertisement.rssi)
        self._seen.set()

    async def run(self) -> None:
        """Connect whenever the bracelet is there, until cancelled."""
        self.link = self._new_link()
        while True:
            self._show()
            advertisement = await self.next_advertisement()
            async with self._slot():
                if self.link.state is LinkState.WAITING:
                    advertisement = await self._still_there()
                try:
                    await self._hold(advertisement)
                    reason = "the bracelet disconnected"
                except (LinkLost, RequestRefused) as error:
                    reason = str(error)
                    self._shared.state.notice(self._device_id, "ble", reason)
                except (RadioUnavailable, *RADIO_ERRORS) as error:
                    reason = reason_of(error)
                except Exception:
                    log.exception("link to %s failed", self._device_id)
                    reason = "internal error"
            self._ended(reason)

    def _ended(self, reason: str) -> None:
        first = self.link.failures == 0
        wait = self.link.ended(time.monotonic(), reason)
        log.log(
            logging.WARNING if first else logging.DEBUG,
            "link to %s ended: %s; next try %s",
            self._device_id,
            reason,
            f"in {wait:.1f} s" if wait else "as soon as it is seen",
        )

    async def next_advertisement(self) -> Advertisement:
        """Wait for an advertisement that is worth an attempt."""
        while True:
            self._seen.clear()
            advertisement = self._advertisement
            if advertisement and self.link.wants_to_connect(advertisement.at, time.monotonic()):
                return advertisement
            with suppress(TimeoutError):
                async with asyncio.timeout(0.2 if self.link.state is LinkState.BACKING_OFF else None):
                    await self._seen.wait()

    async def _still_there(self) -> Advertisement:
        """The bracelet as it was seen a moment ago, or is seen next."""
        if self._advertisement and time.monotonic() - self._advertisement.at < _FRESH_S:
            return self._advertisement
        return await self.next_advertisement()

    @asynccontextmanager
    async def _slot(self) -> AsyncIterator[None]:
        if self._shared.slots.locked():
            self.link.wait_for_slot(time.monotonic())
            self._show()
            log.warning("%s waits: all links of the adapter are taken", self._device_id)
        async with self._shared.slots:
            yield

    async def _hold(self, advertisement: Advertisement) -> None:
        """One connection from its first attempt to its end."""
        gone = asyncio.Event()
        async with self._connected(advertisement, gone) as client:
            peripheral = BlePeripheral(client)
            self.link.fetching(time.monotonic())
            self._show()
            await self.identify(peripheral, advertisement)
            await self._until_gone(self._session(peripheral), gone)

    def _session(self, peripheral: Peripheral) -> BraceletSession | StandardSession:
        """How to talk to it: a bracelet of ours, or a standard device by its services alone."""
        shared, ends = self._shared, (self._heard, self._complete)
        if BRACELET in peripheral.services:
            return BraceletSession(
                self.assignment, peripheral, shared.store, shared.inbox, shared.state, *ends
            )
        return StandardSession(self.assignment, peripheral, shared.inbox, shared.state, *ends)

    async def identify(self, peripheral: Peripheral, advertisement: Advertisement) -> None:
        """Make sure that a bracelet known by its name alone is the one; then it is known by its address.

        Raises:
            WrongBracelet: its serial number is another one.
            LinkLost, RequestRefused: it does not say.
        """
        if self.address is not None:
            return
        if BRACELET in peripheral.services and await serial_number(peripheral) != self._device_id:
            raise WrongBracelet(
                f"the device at {advertisement.address} uses its name and has another serial number"
            )
        if advertisement.has_lasting_address:
            try:
                await self._shared.store.save_address(self._device_id, advertisement.address)
            except OutboxUnavailable as error:  # known until the next start, and then by its name again
                log.warning("%s: its address is not kept: %s", self._device_id, error)
            self.address = advertisement.address

    @asynccontextmanager
    async def connected(self, find_s: float) -> AsyncIterator[tuple[BleakClient, Advertisement]]:
        """A connection for a command, while no session runs.

        Raises:
            LinkLost: it was not seen within that many seconds, or the link did not hold.
            RadioUnavailable, and what bleak raises.
        """
        self.link = self._new_link()
        try:
            async with asyncio.timeout(find_s):
                advertisement = await self.next_advertisement()
        except TimeoutError:
            raise LinkLost(
                "it is not on the air: is it charged, near, and connected to nothing else?"
            ) from None
        async with self._shared.slots, self._connected(advertisement, asyncio.Event()) as client:
            yield client, advertisement

    @asynccontextmanager
    async def _connected(
        self, advertisement: Advertisement, gone: asyncio.Event
    ) -> AsyncIterator[BleakClient]:
        timeout_s = self._shared.config.connect_timeout_s
        client = BleakClient(advertisement.device, lambda _client: gone.set(), timeout=timeout_s)
        try:
            async with self._shared.adapter.connecting():
                self.link.connecting(time.monotonic())
                self._show()
                try:
                    async with asyncio.timeout(timeout_s):
                        await client.connect()
                except TimeoutError:
                    raise LinkLost("no connection in time") from None
                finally:
                    self._shared.radio_was_busy()
            yield client
        finally:
            with suppress(*RADIO_ERRORS):
                async with asyncio.timeout(_DISCONNECT_S):
                    await client.disconnect()

    async def _until_gone(self, session: BraceletSession | StandardSession, gone: asyncio.Event) -> None:
        work = asyncio.create_task(session.run(), name=f"session {self._device_id}")
        left = asyncio.create_task(gone.wait())
        try:
            while not left.done():
                await asyncio.wait((work, left), timeout=1.0, return_when=asyncio.FIRST_COMPLETED)
                if work.done() and not left.done():
                    work.result()
                if self.link.silent(time.monotonic()):
                    said = "it sent only what cannot be understood" if session.garbled else "silent"
                    raise LinkLost(f"{said} for {self.link.silence_s:g} s")
        finally:
            for task in (work, left):
                task.cancel()
            await asyncio.gather(work, left, return_exceptions=True)

    def _heard(self) -> None:
        self.link.heard(time.monotonic())
        self._shared.state.heard(self._device_id, "ble")

    def _complete(self) -> None:
        if self.link.state is LinkState.FETCHING:
            self.link.live(time.monotonic())
            log.info("%s is live", self._device_id)
            self._show()

    def _show(self) -> None:
        state, device_id = self._shared.state, self._device_id
        state.link(device_id, "ble", self.link.state.value, reason=self.link.reason)
        missing = missing_value.of_link(self.link.state, self.link.reason, state.links[device_id].battery_pct)
        if missing or self.link.state is LinkState.FETCHING:
            state.absence(device_id, "ble", missing)
