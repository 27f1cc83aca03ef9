"""The HCI port: one gateway at a time, and clear errors."""

from __future__ import annotations

import asyncio

import pytest
from bleak import BleakClient, BleakScanner
from bleak.exc import BleakBluetoothNotAvailableError

from deploy.local.ports import free_port
from firmware_sim.bleak_backend import open_radio
from firmware_sim.errors import HciPortBusy, UnknownTransport
from firmware_sim.radio.hci_port import gateway_radio
from firmware_sim.radio.virtual_radio import VirtualLink
from tests.firmware_sim.air import Air, find, until
from vitals.gatt.bracelet import STATUS


async def test_bracelet_is_free_again_after_the_gateway_crashed(air: Air) -> None:
    port = free_port()
    bracelet = await air.add()
    async with gateway_radio(air.link, f"tcp-server:127.0.0.1:{port}"):
        async with open_radio(f"tcp-client:127.0.0.1:{port}"):
            client = BleakClient(await find())
            await client.connect()
            assert bracelet.connected
        await until(lambda: not bracelet.connected)
        assert not client.is_connected
        async with open_radio(f"tcp-client:127.0.0.1:{port}"), BleakClient(await find()) as again:
            assert await again.read_gatt_char(STATUS)


async def test_hci_port_accepts_one_gateway_and_ignores_port_checks() -> None:
    port = free_port()
    async with gateway_radio(VirtualLink(), f"tcp-server:127.0.0.1:{port}"):
        _, probe = await asyncio.open_connection("127.0.0.1", port)
        async with open_radio(f"tcp-client:127.0.0.1:{port}"):
            probe.close()
            with pytest.raises(BleakBluetoothNotAvailableError, match="another gateway"):
                async with open_radio(f"tcp-client:127.0.0.1:{port}"):
                    pass
            assert await BleakScanner.discover(0.05) == []


async def test_hci_port_busy_says_what_to_do() -> None:
    spec = f"tcp-server:127.0.0.1:{free_port()}"
    async with gateway_radio(VirtualLink(), spec):
        with pytest.raises(HciPortBusy, match="--hci"):
            async with gateway_radio(VirtualLink(), spec):
                pass


@pytest.mark.parametrize("spec", ["", "tcp-server", "tcp-server:127.0.0.1:x", "serial:/dev/ttyS0"])
async def test_hci_port_unknown_transport(spec: str) -> None:
    with pytest.raises(UnknownTransport):
        async with gateway_radio(VirtualLink(), spec):
            pass
