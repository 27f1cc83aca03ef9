"""What a person does with bracelets: see who is there, pair one, forget one."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping
from typing import Any

from bleak import BleakClient

from edge_gateway.ble.adapter import RADIO_ERRORS, reason_of
from edge_gateway.ble.link import DeviceStore
from edge_gateway.ble.peripheral import BlePeripheral, step
from edge_gateway.ble.source import BleSource
from edge_gateway.control import Answer, Handler
from edge_gateway.errors import CommandFailed, LinkLost, RadioUnavailable, RequestRefused
from edge_gateway.state import GatewayState

log = logging.getLogger(__name__)

FIND_S = 20.0
"""Longest search for a bracelet that is to be paired."""
LONGEST_SCAN_S = 60.0
_RADIO_S = 10.0


class Pairing:
    """Commands on the bracelets of one Bluetooth source, while it runs or on its own.

    Args:
        state: for the reason where the radio is away.
    """

    def __init__(self, source: BleSource, store: DeviceStore, state: GatewayState) -> None:
        self._source, self._store, self._state = source, store, state

    @property
    def handlers(self) -> dict[str, Handler]:
        """The commands by name."""
        return {"scan": self.scan, "pair": self.pair, "forget": self.forget}

    async def scan(self, request: Mapping[str, Any]) -> Answer:
        """Who is heard within `seconds`, the strongest first."""
        seconds = request.get("seconds")
        if not isinstance(seconds, int | float) or not 0 < seconds <= LONGEST_SCAN_S:
            raise CommandFailed(f"a scan takes above 0 and up to {LONGEST_SCAN_S:g} seconds")
        await self._radio_is_there()
        began = time.monotonic()
        await asyncio.sleep(seconds)
        heard = self._source.advertisements.since(began)
        return {"devices": [each.to_json(self._source.listed_as(each)) for each in heard]}

    async def pair(self, request: Mapping[str, Any]) -> Answer:
        """Bond with a bracelet of the list; from then on it is known by its address."""
        device_id = self._listed(request)
        await self._radio_is_there()
        async with self._source.aside(device_id) as link:
            try:
                async with link.connected(FIND_S) as (client, advertisement):
                    await step(client.pair())
                    await link.identify(BlePeripheral(client), advertisement)
            except (LinkLost, RequestRefused, RadioUnavailable, *RADIO_ERRORS) as error:
                raise CommandFailed(f"{device_id} is not paired: {reason_of(error)}") from error
            log.info("%s is paired", device_id)
            return {"device_id": device_id, "address": advertisement.address}

    async def forget(self, request: Mapping[str, Any]) -> Answer:
        """Remove a bracelet's bond and address; it stays on the list."""
        device_id = self._listed(request)
        async with self._source.aside(device_id) as link:
            unpaired = bool(link.address) and await self._unpair(link.address or "")
            known = await self._store.delete_address(device_id)
            await self._source.load_addresses()
        return {"device_id": device_id, "forgotten": known or unpaired}

    async def _unpair(self, address: str) -> bool:
        """Remove the bond where the radio has one; without a radio there is none that could be used."""
        try:
            await step(BleakClient(address).unpair())
        except (LinkLost, RequestRefused) as error:
            log.debug("no bond removed: %s", error)
            return False
        return True

    async def _radio_is_there(self) -> None:
        """Wait a while for a radio that is just being opened."""
        deadline = time.monotonic() + _RADIO_S
        while (said := self._state.parts.get("radio", "")) != "scanning":
            if said or time.monotonic() > deadline:
                raise CommandFailed(f"the radio is {said or 'not there'}")
            await asyncio.sleep(0.05)

    def _listed(self, request: Mapping[str, Any]) -> str:
        device_id = request.get("device_id")
        if not isinstance(device_id, str) or not self._source.is_listed(device_id):
            raise CommandFailed(f"{device_id!r} is not on this gateway's list: add a [[bracelet]] for it")
        return device_id
