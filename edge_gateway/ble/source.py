"""Bracelets over Bluetooth: one scanner finds them, one attempt at a time connects, one task each holds."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from edge_gateway.ble.adapter import Adapter
from edge_gateway.ble.advertisements import Advertisement, AdvertisementCache
from edge_gateway.ble.link import BraceletLink, DeviceStore, LinkContext
from edge_gateway.ble.session import DeviceAssignment
from edge_gateway.config import BleConfig
from edge_gateway.inbox import Inbox
from edge_gateway.state import GatewayState

log = logging.getLogger(__name__)

NAME_PREFIX = "Kidjamo-"
_MOST_STRANGERS = 1000


class BleSource:
    """Readings of the Bluetooth bracelets on the list.

    A bracelet is known by its address once it has been connected; before that, by its name, which its serial
    number must bear out. Any other device that uses its name is refused.

    Args:
        patients: patient of each bracelet on the list.
        addresses: Bluetooth addresses that the list gives.
        book: where addresses and progress are kept.

    Attributes:
        sightings: who was heard lately, on the list or not.
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
        self._state, self._store, self._given = state, store, addresses
        self._strangers: set[str] = set()
        self.adapter = Adapter(
            config.radio,
            self._on_advertisement,
            lambda: any(link.link.connected for link in self._links.values()),
            lambda radio: state.part("radio", radio),
        )
        shared = LinkContext(
            config,
            self.adapter,
            asyncio.Semaphore(config.max_links),
            store,
            self.inbox,
            state,
            self._heard_all,
        )
        self._links = {
            device_id: BraceletLink(DeviceAssignment(device_id, patient_id), addresses.get(device_id), shared)
            for device_id, patient_id in patients.items()
        }
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._group: asyncio.TaskGroup | None = None

    async def run(self) -> None:
        """Scan, connect and listen until cancelled."""
        await self.load_addresses()
        async with asyncio.TaskGroup() as self._group:
            self._group.create_task(
                self.adapter.run([link.address for link in self._links.values() if link.address]),
                name="radio",
            )
            for device_id in self._links:
                self._keep(device_id)

    async def load_addresses(self) -> None:
        """Know again the bracelets that were connected once."""
        known = await self._store.addresses()
        for device_id, link in self._links.items():
            link.address = self._given.get(device_id) or known.get(device_id)

    def device_at(self, address: str) -> str | None:
        """The bracelet of the list that has this address."""
        return next((device for device, link in self._links.items() if link.address == address), None)

    def listed_as(self, advertisement: Advertisement) -> str | None:
        """The bracelet of the list that a device is, as far as its address or name tells."""
        if device_id := self.device_at(advertisement.address):
            return device_id
        named = advertisement.name.removeprefix(NAME_PREFIX)
        link = self._links.get(named) if advertisement.name.startswith(NAME_PREFIX) else None
        return named if link and link.address is None else None

    def is_listed(self, device_id: str) -> bool:
        """Whether a bracelet is on the list."""
        return device_id in self._links

    @asynccontextmanager
    async def aside(self, device_id: str) -> AsyncIterator[BraceletLink]:
        """Let go of a bracelet while a command works with it."""
        if task := self._tasks.get(device_id):
            task.cancel()
            await asyncio.wait([task])
        try:
            yield self._links[device_id]
        finally:
            if task:
                self._keep(device_id)

    def _keep(self, device_id: str) -> None:
        if self._group:
            run = self._links[device_id].run()
            self._tasks[device_id] = self._group.create_task(run, name=f"link {device_id}")

    def _heard_all(self) -> None:
        """The radio was busy connecting: nobody's silence in that time counts."""
        for link in self._links.values():
            link.link.heard(time.monotonic())

    def _on_advertisement(self, advertisement: Advertisement) -> None:
        self.advertisements.note(advertisement)
        if device_id := self.listed_as(advertisement):
            self._links[device_id].seen(advertisement)
        elif advertisement.name.startswith(NAME_PREFIX):
            self._refuse(advertisement.name.removeprefix(NAME_PREFIX), advertisement.address)

    def _refuse(self, device_id: str, address: str) -> None:
        """Say once who is not taken."""
        if address in self._strangers or len(self._strangers) >= _MOST_STRANGERS:
            return
        self._strangers.add(address)
        if device_id in self._links:
            text = f"another device, {address}, uses its name: refused"
            self._state.notice(device_id, "ble", text)
            log.warning("%s: %s", device_id, text)
        else:
            log.warning("bracelet %.128r is on the air and not on this gateway's list", device_id)
