"""The commands scan, pair and forget."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping
from typing import Any

from bleak import BleakClient

from edge_gateway.ble.link import DeviceStore
from edge_gateway.ble.link_failure import RADIO_ERRORS, failure_of
from edge_gateway.ble.peripheral import BlePeripheral, request
from edge_gateway.ble.source import BleSource
from edge_gateway.control import Answer, Handler
from edge_gateway.errors import CommandFailed, LinkLost, RadioUnavailable, RequestRefused

log = logging.getLogger(__name__)

FIND_S = 20.0
"""Longest search for a bracelet that is to be paired."""
LONGEST_SCAN_S = 60.0
_RADIO_S = 10.0


class Pairing:
    """Handlers of the commands on the bracelets of one Bluetooth source, whether it runs or not."""

    def __init__(self, source: BleSource, store: DeviceStore) -> None:
        self._source, self._store = source, store

    @property
    def handlers(self) -> dict[str, Handler]:
        """The commands by name."""
        return {"scan": self.scan, "pair": self.pair, "forget": self.forget}

    async def scan(self, command: Mapping[str, Any]) -> Answer:
        """List the devices received within `seconds`, the strongest first."""
        seconds = command.get("seconds")
        if not isinstance(seconds, int | float) or not 0 < seconds <= LONGEST_SCAN_S:
            raise CommandFailed(f"a scan takes above 0 and up to {LONGEST_SCAN_S:g} seconds")
        await self._wait_for_radio()
        began = time.monotonic()
        await asyncio.sleep(seconds)
        received = self._source.advertisements.since(began)
        return {"devices": [each.to_json(self._source.listed_as(each)) for each in received]}

    async def pair(self, command: Mapping[str, Any]) -> Answer:
        """Bond with a bracelet of the list and store its address."""
        device_id = self._listed(command)
        await self._wait_for_radio()
        async with self._source.link_for_command(device_id) as link:
            try:
                async with link.connected(FIND_S) as (client, advertisement):
                    await request(client.pair())
                    await link.identify(BlePeripheral(client), advertisement)
            except (LinkLost, RequestRefused, RadioUnavailable, *RADIO_ERRORS) as error:
                raise CommandFailed(f"{device_id} is not paired: {failure_of(error).text}") from error
            log.info("%s is paired", device_id)
            return {"device_id": device_id, "address": advertisement.address}

    async def forget(self, command: Mapping[str, Any]) -> Answer:
        """Delete a bracelet's bond and address; it stays on the list."""
        device_id = self._listed(command)
        async with self._source.link_for_command(device_id) as link:
            unpaired = bool(link.address) and await self._unpair(link.address or "")
            deleted = await self._store.delete_address(device_id)
            await self._source.load_addresses()
        return {"device_id": device_id, "forgotten": deleted or unpaired}

    async def _unpair(self, address: str) -> bool:
        """Delete the adapter's bond, if it has one. Without an adapter there is none."""
        try:
            await request(BleakClient(address).unpair())
        except (LinkLost, RequestRefused) as error:
            log.debug("no bond removed: %s", error)
            return False
        return True

    async def _wait_for_radio(self) -> None:
        """Wait for an adapter that is being opened."""
        adapter, deadline = self._source.adapter, time.monotonic() + _RADIO_S
        while not adapter.scanning:
            if adapter.fault:
                raise CommandFailed(f"the radio is away: {adapter.fault}")
            if time.monotonic() > deadline:
                raise CommandFailed("the radio is not there")
            await asyncio.sleep(0.05)

    def _listed(self, command: Mapping[str, Any]) -> str:
        device_id = command.get("device_id")
        if not isinstance(device_id, str) or not self._source.is_listed(device_id):
            raise CommandFailed(f"{device_id!r} is not on this gateway's list: add a [[bracelet]] for it")
        return device_id
