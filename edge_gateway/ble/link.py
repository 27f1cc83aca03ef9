"""Keeps one bracelet connected: waits for an advertisement, connects, runs a session, and starts over."""

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
from edge_gateway.ble.adapter import Adapter
from edge_gateway.ble.advertisements import Advertisement
from edge_gateway.ble.assignment import DeviceAssignment
from edge_gateway.ble.link_failure import RADIO_ERRORS, FailureKind, LinkFailure, failure_of
from edge_gateway.ble.link_state import Link, LinkState
from edge_gateway.ble.peripheral import BlePeripheral, Peripheral, serial_number
from edge_gateway.ble.session import BraceletSession, ProgressStore
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
_DISCONNECTED = LinkFailure(FailureKind.OTHER, "the bracelet disconnected")
_INTERNAL_ERROR = LinkFailure(FailureKind.OTHER, "internal error")


class DeviceStore(ProgressStore, Protocol):
    """Stores bracelets' addresses and how far their records are committed."""

    async def addresses(self) -> dict[str, str]:
        """Return the Bluetooth address of each bracelet that was connected before."""

    async def save_address(self, device_id: str, address: str) -> None:
        """Store a bracelet's address."""

    async def delete_address(self, device_id: str) -> bool:
        """Delete a bracelet's address. Return whether there was one."""


@dataclass(frozen=True, slots=True)
class LinkContext:
    """What all links of one adapter share.

    Attributes:
        slots: one for each link that the adapter can hold.
        on_attempt: called after each attempt to connect; during an attempt no link can receive.
    """

    config: BleConfig
    adapter: Adapter
    slots: asyncio.Semaphore
    store: DeviceStore
    inbox: Inbox
    state: GatewayState
    on_attempt: Callable[[], None]


class BraceletLink:
    """The link to one bracelet of the list.

    Attributes:
        address: its Bluetooth address, once known; then no other device is connected under its name.
    """

    def __init__(self, assignment: DeviceAssignment, address: str | None, context: LinkContext) -> None:
        self.assignment, self.address, self._context = assignment, address, context
        self.link = self._new_link()
        self._advertisement: Advertisement | None = None
        self._advertised = asyncio.Event()

    def _new_link(self) -> Link:
        """Return a link in its first state; advertisements received before do not count for it."""
        return Link(self._context.config.silence_s, random.random, since=time.monotonic())

    @property
    def _device_id(self) -> str:
        return self.assignment.device_id

    def on_advertisement(self, advertisement: Advertisement) -> None:
        """Note an advertisement of this bracelet."""
        self._advertisement = advertisement
        self._context.state.rssi(self._device_id, advertisement.rssi)
        self._advertised.set()

    async def run(self) -> None:
        """Connect whenever the bracelet advertises, until cancelled."""
        self.link = self._new_link()
        while True:
            self._show()
            advertisement = await self.next_advertisement()
            async with self._slot():
                if self.link.state is LinkState.WAITING:
                    advertisement = await self._fresh_advertisement()
                failure = await self._run_connection(advertisement)
            self._end(failure)

    async def _run_connection(self, advertisement: Advertisement) -> LinkFailure:
        """Run one connection and return why it ended."""
        try:
            await self._connect_and_run(advertisement)
        except (LinkLost, RequestRefused) as error:
            self._context.state.notice(self._device_id, "ble", str(error))
            return failure_of(error)
        except (RadioUnavailable, *RADIO_ERRORS) as error:
            return failure_of(error)
        except Exception:
            log.exception("link to %s failed", self._device_id)
            return _INTERNAL_ERROR
        return _DISCONNECTED

    def _end(self, failure: LinkFailure) -> None:
        first = self.link.failures == 0
        wait = self.link.ended(time.monotonic(), failure)
        log.log(
            logging.WARNING if first else logging.DEBUG,
            "link to %s ended: %s; next attempt %s",
            self._device_id,
            failure.text,
            f"in {wait:.1f} s" if wait else "at its next advertisement",
        )

    async def next_advertisement(self) -> Advertisement:
        """Wait for an advertisement after which to connect."""
        while True:
            self._advertised.clear()
            advertisement = self._advertisement
            if advertisement and self.link.wants_to_connect(advertisement.at, time.monotonic()):
                return advertisement
            with suppress(TimeoutError):
                async with asyncio.timeout(0.2 if self.link.state is LinkState.BACKING_OFF else None):
                    await self._advertised.wait()

    async def _fresh_advertisement(self) -> Advertisement:
        """Return the latest advertisement if it is recent, else wait for the next one."""
        if self._advertisement and time.monotonic() - self._advertisement.at < _FRESH_S:
            return self._advertisement
        return await self.next_advertisement()

    @asynccontextmanager
    async def _slot(self) -> AsyncIterator[None]:
        if self._context.slots.locked():
            self.link.wait_for_slot(time.monotonic())
            self._show()
            log.warning("%s waits: all links of the adapter are taken", self._device_id)
        async with self._context.slots:
            yield

    async def _connect_and_run(self, advertisement: Advertisement) -> None:
        gone = asyncio.Event()
        async with self._connected(advertisement, gone) as client:
            peripheral = BlePeripheral(client)
            self.link.fetching(time.monotonic())
            self._show()
            await self.identify(peripheral, advertisement)
            await self._until_gone(self._session(peripheral), gone)

    def _session(self, peripheral: Peripheral) -> BraceletSession | StandardSession:
        """Return a session for a Kidjamo bracelet, or for a standard device by its services."""
        context, device, callbacks = self._context, self.assignment, (self._on_data, self._on_complete)
        if BRACELET in peripheral.services:
            return BraceletSession(
                device, peripheral, context.store, context.inbox, context.state, *callbacks
            )
        return StandardSession(device, peripheral, context.inbox, context.state, *callbacks)

    async def identify(self, peripheral: Peripheral, advertisement: Advertisement) -> None:
        """Check the serial number of a bracelet known only by its name, and store its address.

        Raises:
            WrongBracelet: it has another serial number.
            LinkLost, RequestRefused: the serial number cannot be read.
        """
        if self.address is not None:
            return
        if BRACELET in peripheral.services and await serial_number(peripheral) != self._device_id:
            raise WrongBracelet(
                f"the device at {advertisement.address} uses its name and has another serial number"
            )
        if advertisement.has_lasting_address:
            try:
                await self._context.store.save_address(self._device_id, advertisement.address)
            except OutboxUnavailable as error:  # until the next start, the address is known all the same
                log.warning("%s: its address is not stored: %s", self._device_id, error)
            self.address = advertisement.address

    @asynccontextmanager
    async def connected(self, find_s: float) -> AsyncIterator[tuple[BleakClient, Advertisement]]:
        """Connect for a command, while no session runs.

        Raises:
            LinkLost: no advertisement within that many seconds, or the link was lost.
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
        async with self._context.slots, self._connected(advertisement, asyncio.Event()) as client:
            yield client, advertisement

    @asynccontextmanager
    async def _connected(
        self, advertisement: Advertisement, gone: asyncio.Event
    ) -> AsyncIterator[BleakClient]:
        timeout_s = self._context.config.connect_timeout_s
        client = BleakClient(advertisement.device, lambda _client: gone.set(), timeout=timeout_s)
        try:
            async with self._context.adapter.connecting():
                self.link.connecting(time.monotonic())
                self._show()
                try:
                    async with asyncio.timeout(timeout_s):
                        await client.connect()
                except TimeoutError:
                    raise LinkLost("no connection in time") from None
                finally:
                    self._context.on_attempt()
            yield client
        finally:
            with suppress(*RADIO_ERRORS):
                async with asyncio.timeout(_DISCONNECT_S):
                    await client.disconnect()

    async def _until_gone(self, session: BraceletSession | StandardSession, gone: asyncio.Event) -> None:
        """Run a session until the bracelet disconnects.

        Raises:
            LinkLost: the session failed, or the bracelet sends nothing that can be parsed.
        """
        work = asyncio.create_task(session.run(), name=f"session {self._device_id}")
        disconnected = asyncio.create_task(gone.wait())
        try:
            while not disconnected.done():
                await asyncio.wait((work, disconnected), timeout=1.0, return_when=asyncio.FIRST_COMPLETED)
                if work.done() and not disconnected.done():
                    work.result()
                if self.link.silent(time.monotonic()):
                    only_malformed = session.consecutive_malformed
                    problem = "it sent only what cannot be understood" if only_malformed else "silent"
                    raise LinkLost(f"{problem} for {self.link.silence_s:g} s")
        finally:
            for task in (work, disconnected):
                task.cancel()
            await asyncio.gather(work, disconnected, return_exceptions=True)

    def _on_data(self) -> None:
        self.link.note_data(time.monotonic())
        self._context.state.heard(self._device_id, "ble")

    def _on_complete(self) -> None:
        if self.link.state is LinkState.FETCHING:
            self.link.live(time.monotonic())
            log.info("%s is live", self._device_id)
            self._show()

    def _show(self) -> None:
        """Publish the link's state."""
        state, link, device_id = self._context.state, self.link, self._device_id
        state.link(device_id, "ble", link.state.value, reason=link.reason)
        missing = missing_value.of_link(link.state, link.failure, state.links[device_id].battery_pct)
        if missing or link.state is LinkState.FETCHING:
            state.absence(device_id, "ble", missing)
