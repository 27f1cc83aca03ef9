"""Bluetooth bracelets as a source of readings: one scanner and one task for each link."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from edge_gateway.ble.adapter import Adapter
from edge_gateway.ble.advertisements import Advertisement, AdvertisementCache
from edge_gateway.ble.assignment import DeviceAssignment
from edge_gateway.ble.link import BraceletLink, DeviceStore, LinkContext
from edge_gateway.config import BleConfig
from edge_gateway.inbox import Inbox
from edge_gateway.state import GatewayState

log = logging.getLogger(__name__)

NAME_PREFIX = "Kidjamo-"
_MOST_REFUSED = 1000


class BleSource:
    """Readings of the Bluetooth bracelets on the list.

    A bracelet is identified by its address once it has been connected; before that by its name, which is
    checked against its serial number. Another device that uses its name is refused.

    Args:
        patients: patient of each bracelet on the list.
        addresses: Bluetooth addresses given in the list.
        store: stores addresses and progress.

    Attributes:
        advertisements: devices received recently, on the list or not.
    """

    name = "ble"

    def __init__(
        self,
        config: BleConfig,
        patients: Mapping[str, str],
        addresses: Mapping[str, str],
        store: DeviceStore,
        state: GatewayState,
    ) -> None:
        self.inbox = Inbox()
        self.advertisements = AdvertisementCache()
        self._state, self._store, self._configured_addresses = state, store, addresses
        self._refused: set[str] = set()
        self.adapter = Adapter(
            config.radio,
            self._on_advertisement,
            lambda: any(link.link.connected for link in self._links.values()),
            lambda radio: state.part("radio", radio),
        )
        context = LinkContext(
            config,
            self.adapter,
            asyncio.Semaphore(config.max_links),
            store,
            self.inbox,
            state,
            self._restart_silence,
        )
        self._links = {
            device_id: BraceletLink(
                DeviceAssignment(device_id, patient_id), addresses.get(device_id), context
            )
            for device_id, patient_id in patients.items()
        }
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._group: asyncio.TaskGroup | None = None

    async def run(self) -> None:
        """Scan, connect and receive until cancelled."""
        await self.load_addresses()
        async with asyncio.TaskGroup() as self._group:
            self._group.create_task(
                self.adapter.run([link.address for link in self._links.values() if link.address]),
                name="radio",
            )
            for device_id in self._links:
                self._start_link(device_id)

    async def load_addresses(self) -> None:
        """Load the addresses of bracelets that were connected before."""
        stored = await self._store.addresses()
        for device_id, link in self._links.items():
            link.address = self._configured_addresses.get(device_id) or stored.get(device_id)

    def device_at(self, address: str) -> str | None:
        """Return the bracelet of the list with this address."""
        return next((device for device, link in self._links.items() if link.address == address), None)

    def listed_as(self, advertisement: Advertisement) -> str | None:
        """Return the bracelet of the list to which an advertisement belongs, by its address or name."""
        if device_id := self.device_at(advertisement.address):
            return device_id
        name = advertisement.name.removeprefix(NAME_PREFIX)
        link = self._links.get(name) if advertisement.name.startswith(NAME_PREFIX) else None
        return name if link and link.address is None else None

    def is_listed(self, device_id: str) -> bool:
        """Return whether a bracelet is on the list."""
        return device_id in self._links

    @asynccontextmanager
    async def link_for_command(self, device_id: str) -> AsyncIterator[BraceletLink]:
        """Stop the session of a bracelet while a command uses its link."""
        if task := self._tasks.get(device_id):
            task.cancel()
            await asyncio.wait([task])
        try:
            yield self._links[device_id]
        finally:
            if task:
                self._start_link(device_id)

    def _start_link(self, device_id: str) -> None:
        if self._group:
            run = self._links[device_id].run()
            self._tasks[device_id] = self._group.create_task(run, name=f"link {device_id}")

    def _restart_silence(self) -> None:
        """Do not count the time of an attempt to connect as silence of the other bracelets."""
        for link in self._links.values():
            link.link.note_data(time.monotonic())

    def _on_advertisement(self, advertisement: Advertisement) -> None:
        self.advertisements.add(advertisement)
        if device_id := self.listed_as(advertisement):
            self._links[device_id].on_advertisement(advertisement)
        elif advertisement.name.startswith(NAME_PREFIX):
            self._refuse(advertisement.name.removeprefix(NAME_PREFIX), advertisement.address)

    def _refuse(self, device_id: str, address: str) -> None:
        """Report a device that is not accepted, once per address."""
        if address in self._refused or len(self._refused) >= _MOST_REFUSED:
            return
        self._refused.add(address)
        if device_id in self._links:
            text = f"another device, {address}, uses its name: refused"
            self._state.notice(device_id, "ble", text)
            log.warning("%s: %s", device_id, text)
        else:
            log.warning("bracelet %.128r is on the air and not on this gateway's list", device_id)
