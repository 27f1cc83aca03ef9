"""Bracelets over Bluetooth: one scanner finds them, one attempt at a time connects, one task each holds."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

from bleak import BleakClient
from bleak.backends.device import BLEDevice
from bleak.backends.scanner import AdvertisementData

from edge_gateway.arrival import Inbox
from edge_gateway.config import BleConfig
from edge_gateway.errors import LinkLost, RadioUnavailable
from edge_gateway.link import Link, LinkState
from edge_gateway.radio import RADIO_ERRORS, Adapter, reason_of
from edge_gateway.sources.bracelet_session import BraceletSession, OnData, ProgressBook, Wearer
from edge_gateway.state import GatewayState

log = logging.getLogger(__name__)

NAME_PREFIX = "Kidjamo-"
_DISCONNECT_S = 5.0
_STEP_S = 10.0
_FRESH_S = 10.0
_MOST_STRANGERS = 1000


@dataclass(frozen=True, slots=True)
class _Sighting:
    device: BLEDevice
    at: float


class BlePeripheral:
    """A connected bracelet: bleak's client with our errors and a limit on every wait."""

    def __init__(self, client: BleakClient) -> None:
        self._client = client

    async def read(self, uuid: str) -> bytes:
        """Read a characteristic."""
        return bytes(await _step(self._client.read_gatt_char(uuid)))

    async def subscribe(self, uuid: str, on_data: OnData) -> None:
        """Have notifications or indications of a characteristic."""
        await _step(self._client.start_notify(uuid, lambda _sender, data: on_data(bytes(data))))

    async def write(self, uuid: str, data: bytes) -> None:
        """Write a characteristic and wait for the response."""
        await _step(self._client.write_gatt_char(uuid, data, response=True))


class BleSource:
    """Readings of the Bluetooth bracelets on the list.

    Args:
        book: where it is noted how far each bracelet's records are committed.
    """

    name = "ble"

    def __init__(
        self, config: BleConfig, patients: Mapping[str, str], book: ProgressBook, state: GatewayState
    ) -> None:
        self.inbox = Inbox()
        self._config, self._state, self._book = config, state, book
        self._links = {
            device_id: _BraceletLink(Wearer(device_id, patient_id), self)
            for device_id, patient_id in patients.items()
        }
        self._strangers: set[str] = set()
        self.slots = asyncio.Semaphore(config.max_links)
        self.adapter = Adapter(
            config.radio,
            self._on_advertisement,
            lambda: any(link.link.connected for link in self._links.values()),
            lambda radio: state.part("radio", radio),
        )

    @property
    def config(self) -> BleConfig:
        """Settings of the adapter and its links."""
        return self._config

    @property
    def state(self) -> GatewayState:
        """Where links are shown."""
        return self._state

    @property
    def book(self) -> ProgressBook:
        """Where progress is noted."""
        return self._book

    async def run(self) -> None:
        """Scan, connect and listen until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.adapter.run(), name="radio")
            for device_id, link in self._links.items():
                tasks.create_task(link.run(), name=f"link {device_id}")

    def heard_all(self) -> None:
        """The radio was busy connecting: nobody's silence in that time counts."""
        for link in self._links.values():
            link.link.heard(time.monotonic())

    def _on_advertisement(self, device: BLEDevice, advertisement: AdvertisementData) -> None:
        name = advertisement.local_name or device.name or ""
        if not name.startswith(NAME_PREFIX):
            return
        device_id = name.removeprefix(NAME_PREFIX)
        if link := self._links.get(device_id):
            link.seen(device)
        elif device_id not in self._strangers and len(self._strangers) < _MOST_STRANGERS:
            self._strangers.add(device_id)
            log.warning("bracelet %.128r is on the air and not on this gateway's list", device_id)


class _BraceletLink:
    """Keeps one bracelet connected."""

    def __init__(self, wearer: Wearer, source: BleSource) -> None:
        self._wearer, self._source = wearer, source
        self.link = Link(source.config.silence_s, random.random)
        self._sighting: _Sighting | None = None
        self._seen = asyncio.Event()

    def seen(self, device: BLEDevice) -> None:
        """Note an advertisement."""
        self._sighting = _Sighting(device, time.monotonic())
        self._seen.set()

    async def run(self) -> None:
        """Connect whenever the bracelet is there, until cancelled."""
        while True:
            self._show()
            device = await self._next_sighting()
            async with self._slot():
                if self.link.state is LinkState.WAITING:
                    device = await self._still_there()
                try:
                    await self._hold(device)
                    reason = "the bracelet disconnected"
                except (LinkLost, RadioUnavailable, *RADIO_ERRORS) as error:
                    reason = reason_of(error)
                except Exception:
                    log.exception("link to %s failed", self._wearer.device_id)
                    reason = "internal error"
            self._ended(reason)

    def _ended(self, reason: str) -> None:
        first = self.link.failures == 0
        wait = self.link.ended(time.monotonic(), reason)
        log.log(
            logging.WARNING if first else logging.DEBUG,
            "link to %s ended: %s; next try %s",
            self._wearer.device_id,
            reason,
            f"in {wait:.1f} s" if wait else "as soon as it is seen",
        )

    async def _next_sighting(self) -> BLEDevice:
        """Wait for an advertisement that is worth an attempt."""
        while True:
            self._seen.clear()
            sighting = self._sighting
            if sighting and self.link.wants_to_connect(sighting.at, time.monotonic()):
                return sighting.device
            with suppress(TimeoutError):
                async with asyncio.timeout(0.2 if self.link.state is LinkState.BACKING_OFF else None):
                    await self._seen.wait()

    async def _still_there(self) -> BLEDevice:
        """The bracelet as it was seen a moment ago, or is seen next."""
        if self._sighting and time.monotonic() - self._sighting.at < _FRESH_S:
            return self._sighting.device
        return await self._next_sighting()

    @asynccontextmanager
    async def _slot(self) -> AsyncIterator[None]:
        if self._source.slots.locked():
            self.link.wait_for_slot(time.monotonic())
            self._show()
            log.warning("%s waits: all links of the adapter are taken", self._wearer.device_id)
        async with self._source.slots:
            yield

    async def _hold(self, device: BLEDevice) -> None:
        """One connection from its first attempt to its end."""
        gone = asyncio.Event()
        client = BleakClient(
            device, lambda _client: gone.set(), timeout=self._source.config.connect_timeout_s
        )
        try:
            await self._connect(client)
            self.link.fetching(time.monotonic())
            self._show()
            session = BraceletSession(
                self._wearer,
                BlePeripheral(client),
                self._source.book,
                self._source.inbox,
                self._source.state,
                self._heard,
                self._complete,
            )
            await self._until_gone(session, gone)
        finally:
            with suppress(*RADIO_ERRORS):
                async with asyncio.timeout(_DISCONNECT_S):
                    await client.disconnect()

    async def _connect(self, client: BleakClient) -> None:
        async with self._source.adapter.connecting():
            self.link.connecting(time.monotonic())
            self._show()
            try:
                async with asyncio.timeout(self._source.config.connect_timeout_s):
                    await client.connect()
            except TimeoutError:
                raise LinkLost("no connection in time") from None
            finally:
                self._source.heard_all()

    async def _until_gone(self, session: BraceletSession, gone: asyncio.Event) -> None:
        work = asyncio.create_task(session.run(), name=f"session {self._wearer.device_id}")
        left = asyncio.create_task(gone.wait())
        try:
            while not left.done():
                await asyncio.wait((work, left), timeout=1.0, return_when=asyncio.FIRST_COMPLETED)
                if work.done() and not left.done():
                    work.result()
                if self.link.silent(time.monotonic()):
                    raise LinkLost(f"silent for {self.link.silence_s:g} s")
        finally:
            for task in (work, left):
                task.cancel()
            await asyncio.gather(work, left, return_exceptions=True)

    def _heard(self) -> None:
        self.link.heard(time.monotonic())
        self._source.state.heard(self._wearer.device_id, "ble")

    def _complete(self) -> None:
        if self.link.state is LinkState.FETCHING:
            self.link.live(time.monotonic())
            log.info("%s is live", self._wearer.device_id)
            self._show()

    def _show(self) -> None:
        link = self.link
        self._source.state.link(self._wearer.device_id, "ble", link.state.value, reason=link.reason)


async def _step(wanted: Any) -> Any:
    """One exchange with a bracelet, never longer than the ATT transaction time-out would make sense of."""
    try:
        async with asyncio.timeout(_STEP_S):
            return await wanted
    except TimeoutError:
        raise LinkLost("it does not answer") from None
    except RADIO_ERRORS as error:
        raise LinkLost(reason_of(error)) from error
