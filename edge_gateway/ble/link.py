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
from edge_gateway.ble.advertisements import Sighting
from edge_gateway.ble.link_state import Link, LinkState
from edge_gateway.ble.peripheral import BlePeripheral, Peripheral, serial_number
from edge_gateway.ble.session import BraceletSession, ProgressBook, Wearer
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


class DeviceBook(ProgressBook, Protocol):
    """Where bracelets are known by their addresses, and how far their records are committed."""

    async def addresses(self) -> dict[str, str]:
        """Bluetooth address of each bracelet that was connected once."""

    async def know(self, device_id: str, address: str) -> None:
        """Know a bracelet by this address from now on."""

    async def forget(self, device_id: str) -> bool:
        """Know a bracelet no longer; returns whether it was known."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What all links of one adapter share.

    Attributes:
        slots: as many as the adapter can hold links.
        radio_was_busy: called after each attempt to connect: nobody could be heard meanwhile.
    """

    config: BleConfig
    adapter: Adapter
    slots: asyncio.Semaphore
    book: DeviceBook
    inbox: Inbox
    state: GatewayState
    radio_was_busy: Callable[[], None]


class BraceletLink:
    """One bracelet of the list.

    Attributes:
        address: its Bluetooth address, once that is known; then nothing else is connected under its name.
    """

    def __init__(self, wearer: Wearer, address: str | None, shared: Surroundings) -> None:
        self.wearer, self.address, self._shared = wearer, address, shared
        self.link = self._new_link()
        self._sighting: Sighting | None = None
        self._seen = asyncio.Event()

    def _new_link(self) -> Link:
        """A link that has everything before it; what was seen until now may be gone."""
        return Link(self._shared.config.silence_s, random.random, since=time.monotonic())

    @property
    def _device_id(self) -> str:
        return self.wearer.device_id

    def seen(self, sighting: Sighting) -> None:
        """Note an advertisement."""
        self._sighting = sighting
        self._shared.state.rssi(self._device_id, sighting.rssi)
        self._seen.set()

    async def run(self) -> None:
        """Connect whenever the bracelet is there, until cancelled."""
        self.link = self._new_link()
        while True:
            self._show()
            sighting = await self.next_sighting()
            async with self._slot():
                if self.link.state is LinkState.WAITING:
                    sighting = await self._still_there()
                try:
                    await self._hold(sighting)
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

    async def next_sighting(self) -> Sighting:
        """Wait for an advertisement that is worth an attempt."""
        while True:
            self._seen.clear()
            sighting = self._sighting
            if sighting and self.link.wants_to_connect(sighting.at, time.monotonic()):
                return sighting
            with suppress(TimeoutError):
                async with asyncio.timeout(0.2 if self.link.state is LinkState.BACKING_OFF else None):
                    await self._seen.wait()

    async def _still_there(self) -> Sighting:
        """The bracelet as it was seen a moment ago, or is seen next."""
        if self._sighting and time.monotonic() - self._sighting.at < _FRESH_S:
            return self._sighting
        return await self.next_sighting()

    @asynccontextmanager
    async def _slot(self) -> AsyncIterator[None]:
        if self._shared.slots.locked():
            self.link.wait_for_slot(time.monotonic())
            self._show()
            log.warning("%s waits: all links of the adapter are taken", self._device_id)
        async with self._shared.slots:
            yield

    async def _hold(self, sighting: Sighting) -> None:
        """One connection from its first attempt to its end."""
        gone = asyncio.Event()
        async with self._connected(sighting, gone) as client:
            peripheral = BlePeripheral(client)
            self.link.fetching(time.monotonic())
            self._show()
            await self.identify(peripheral, sighting)
            await self._until_gone(self._session(peripheral), gone)

    def _session(self, peripheral: Peripheral) -> BraceletSession | StandardSession:
        """How to talk to it: a bracelet of ours, or a standard device by its services alone."""
        shared, ends = self._shared, (self._heard, self._complete)
        if BRACELET in peripheral.services:
            return BraceletSession(self.wearer, peripheral, shared.book, shared.inbox, shared.state, *ends)
        return StandardSession(self.wearer, peripheral, shared.inbox, shared.state, *ends)

    async def identify(self, peripheral: Peripheral, sighting: Sighting) -> None:
        """Make sure that a bracelet known by its name alone is the one; then it is known by its address.

        Raises:
            WrongBracelet: its serial number is another one.
            LinkLost, RequestRefused: it does not say.
        """
        if self.address is not None:
            return
        if BRACELET in peripheral.services and await serial_number(peripheral) != self._device_id:
            raise WrongBracelet(
                f"the device at {sighting.address} uses its name and has another serial number"
            )
        if sighting.has_lasting_address:
            try:
                await self._shared.book.know(self._device_id, sighting.address)
            except OutboxUnavailable as error:  # known until the next start, and then by its name again
                log.warning("%s: its address is not kept: %s", self._device_id, error)
            self.address = sighting.address

    @asynccontextmanager
    async def connected(self, find_s: float) -> AsyncIterator[tuple[BleakClient, Sighting]]:
        """A connection for a command, while no session runs.

        Raises:
            LinkLost: it was not seen within that many seconds, or the link did not hold.
            RadioUnavailable, and what bleak raises.
        """
        self.link = self._new_link()
        try:
            async with asyncio.timeout(find_s):
                sighting = await self.next_sighting()
        except TimeoutError:
            raise LinkLost(
                "it is not on the air: is it charged, near, and connected to nothing else?"
            ) from None
        async with self._shared.slots, self._connected(sighting, asyncio.Event()) as client:
            yield client, sighting

    @asynccontextmanager
    async def _connected(self, sighting: Sighting, gone: asyncio.Event) -> AsyncIterator[BleakClient]:
        timeout_s = self._shared.config.connect_timeout_s
        client = BleakClient(sighting.device, lambda _client: gone.set(), timeout=timeout_s)
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
