"""bleak on the simulated radio: lost links, and behaviour copied from BlueZ."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack

import bleak
import pytest
from bleak import BleakClient, BleakScanner
from bleak.backends import BleakBackend
from bleak.backends.client import get_platform_client_backend_type
from bleak.backends.device import BLEDevice
from bleak.backends.scanner import get_platform_scanner_backend_type
from bleak.exc import BleakBluetoothNotAvailableError, BleakDeviceNotFoundError, BleakError

from deploy.local.ports import free_port
from firmware_sim.bleak_backend import open_radio, use_device
from firmware_sim.radio import bleak_radio
from firmware_sim.radio.hci_port import gateway_radio
from tests.firmware_sim.air import Air, ReceivedValues, ask, calm, find, now_ms, until
from vitals.gatt.bracelet import LIVE_RECORD, RECORD_ACCESS, STATUS, STORED_RECORD
from vitals.gatt.record_access import OpCode, Request, Response, ResponseCode

DONE = Response(OpCode.REPORT, ResponseCode.SUCCESS)


async def test_link_loss_calls_back_and_reconnects(air: Air) -> None:
    bracelet = await air.add()
    gone = asyncio.Event()
    client = BleakClient(await find(), disconnected_callback=lambda _client: gone.set())
    await client.connect()
    bracelet.controller.lose_links()
    await asyncio.wait_for(gone.wait(), 1)
    assert not client.is_connected
    with pytest.raises(BleakError):
        await client.read_gatt_char(STATUS)
    live = ReceivedValues()
    async with BleakClient(await find()) as again:
        await again.start_notify(LIVE_RECORD, live)
        await bracelet.publish(bracelet.bracelet.measure(calm(), now_ms()))
        await until(lambda: live.values)


async def test_same_client_reconnects_after_the_bracelet_disconnected(air: Air) -> None:
    bracelet = await air.add()
    client = BleakClient(await find())
    for _ in range(2):
        await client.connect()
        assert await client.read_gatt_char(STATUS)
        await bracelet.disconnect()
        await until(lambda: not client.is_connected)


async def test_link_loss_fails_all_pending_requests_at_once(air: Air) -> None:
    bracelet = await air.add(stored=500)
    client = BleakClient(await find())
    await client.connect()
    await client.start_notify(STORED_RECORD, ReceivedValues())
    await client.start_notify(RECORD_ACCESS, ReceivedValues())
    await client.write_gatt_char(RECORD_ACCESS, bytes(Request.report_from(0)), response=True)
    reads = [asyncio.create_task(client.read_gatt_char(STATUS)) for _ in range(3)]
    await asyncio.sleep(0)
    bracelet.controller.lose_links()
    outcomes = await asyncio.wait_for(asyncio.gather(*reads, return_exceptions=True), 2)
    assert all(isinstance(outcome, BleakError) for outcome in outcomes)


async def test_cancelled_request_raises_cancelled_error(air: Air) -> None:
    await air.add()
    async with BleakClient(await find()) as client:
        read = asyncio.create_task(client.read_gatt_char(STATUS))
        await asyncio.sleep(0)
        read.cancel()
        with pytest.raises(asyncio.CancelledError):
            await read


async def test_connect_timeout_leaves_the_radio_free(air: Air) -> None:
    bracelet = await air.add()
    device = await find()
    await bracelet.hide()
    started = time.monotonic()
    with pytest.raises(TimeoutError):
        await BleakClient(device, timeout=0.3).connect()
    assert time.monotonic() - started < 1
    await bracelet.advertise()
    async with BleakClient(device, timeout=2) as client:
        assert client.is_connected


async def test_connect_unknown_address_is_not_found(air: Air) -> None:
    with pytest.raises(BleakDeviceNotFoundError):
        await BleakClient("AA:BB:CC:DD:EE:FF", timeout=0.3).connect()


async def test_connect_by_address_scans_first(air: Air) -> None:
    bracelet = await air.add()
    address = str(bracelet.controller.random_address.to_string(False))
    async with BleakClient(address, timeout=2) as client:
        assert client.is_connected


async def test_connect_not_seen_recently_needs_a_new_scan(air: Air, monkeypatch: pytest.MonkeyPatch) -> None:
    await air.add()
    device = await find()
    monkeypatch.setattr(bleak_radio, "FORGET_AFTER_S", 0.0)
    with pytest.raises(BleakDeviceNotFoundError):
        await BleakClient(device, timeout=1).connect()
    monkeypatch.undo()
    async with BleakClient(await find()) as client:
        assert client.is_connected


async def test_four_bracelets_at_once(air: Air) -> None:
    for _ in range(4):
        await air.add(stored=100)
    devices = await BleakScanner.discover(0.3)
    assert len(devices) == 4
    all_connected = asyncio.Barrier(4)

    async def fetch(device: BLEDevice) -> list[int]:
        stored, answers = ReceivedValues(), ReceivedValues()
        async with BleakClient(device) as client:
            await client.start_notify(STORED_RECORD, stored)
            await client.start_notify(RECORD_ACCESS, answers)
            assert await ask(client, Request.report_from(0), answers) == DONE
            await asyncio.wait_for(all_connected.wait(), 5)
        return stored.seqs

    assert await asyncio.gather(*(fetch(device) for device in devices)) == [list(range(100))] * 4


async def test_scanning_continues_while_connecting(air: Air) -> None:
    await air.add()
    await air.add()
    async with BleakScanner() as scanner:
        await until(lambda: len(scanner.discovered_devices) == 2)
        async with BleakClient(scanner.discovered_devices[0]) as client:
            assert client.is_connected
            async with BleakScanner() as other:
                await until(lambda: len(other.discovered_devices) == 1)


async def test_client_behaves_like_bluez(air: Air) -> None:
    bracelet = await air.add()
    first, second = ReceivedValues(), ReceivedValues()
    async with BleakClient(await find()) as client:
        assert client.mtu_size == 23
        record_access = client.services.get_characteristic(RECORD_ACCESS)
        assert record_access
        assert record_access.max_write_without_response_size == 247 - 3
        assert "00001800-0000-1000-8000-00805f9b34fb" not in [service.uuid for service in client.services]
        await client.start_notify(STATUS, first)
        value = await client.read_gatt_char(STATUS)
        await until(lambda: first.values == [bytes(value)])
        await client.start_notify(STATUS, second)
        await bracelet.publish(bracelet.bracelet.measure(calm(), now_ms()))
        await until(lambda: second.values)
        assert len(first.values) == 1
        await client.stop_notify(STATUS)
        bracelet.bracelet.worn = False
        await bracelet.publish(bracelet.bracelet.measure(None, now_ms()))
        await asyncio.sleep(0.05)
        assert len(second.values) == 1


async def test_use_device_restores_bleaks_backends(air: Air) -> None:
    assert BleakScanner().backend_id == "bumble"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bleak, "get_platform_scanner_backend_type", get_platform_scanner_backend_type)
        patch.setattr(bleak, "get_platform_client_backend_type", get_platform_client_backend_type)
        async with use_device(air.gateway):
            assert BleakScanner().backend_id == "bumble"
            assert BleakClient("AA:BB:CC:DD:EE:FF").backend_id == "bumble"
        assert isinstance(BleakScanner().backend_id, BleakBackend)
        assert isinstance(BleakClient("AA:BB:CC:DD:EE:FF").backend_id, BleakBackend)


async def test_open_radio_across_a_socket(air: Air) -> None:
    """The gateway side uses HCI over TCP."""
    port = free_port()
    bracelet = await air.add(stored=50)
    stored, answers, gone = ReceivedValues(), ReceivedValues(), asyncio.Event()
    async with (
        gateway_radio(air.link, f"tcp-server:127.0.0.1:{port}"),
        open_radio(f"tcp-client:127.0.0.1:{port}"),
        BleakClient(await find(), disconnected_callback=lambda _client: gone.set()) as client,
    ):
        await client.start_notify(STORED_RECORD, stored)
        await client.start_notify(RECORD_ACCESS, answers)
        assert await ask(client, Request.report_from(0), answers) == DONE
        assert stored.seqs == list(range(50))
    await until(lambda: not bracelet.connected)
    assert gone.is_set()


async def test_open_radio_reconnects_to_a_restarted_simulator(air: Air) -> None:
    """Like an unplugged adapter: links drop, nothing can start, and scans resume when it is back."""
    port = free_port()
    bracelet = await air.add()
    async with AsyncExitStack() as stack:
        simulator = await stack.enter_async_context(AsyncExitStack())
        await simulator.enter_async_context(gateway_radio(air.link, f"tcp-server:127.0.0.1:{port}"))
        await stack.enter_async_context(open_radio(f"tcp-client:127.0.0.1:{port}"))
        heard = ReceivedValues()
        scanner = BleakScanner(lambda device, _data: heard.values.append(device.address.encode()))
        await stack.enter_async_context(scanner)
        device = await find()
        client = BleakClient(device)
        await client.connect()

        await simulator.aclose()
        await until(lambda: not client.is_connected and not bracelet.connected)
        with pytest.raises(BleakError):
            await BleakClient(device, timeout=0.5).connect()
        with pytest.raises(BleakBluetoothNotAvailableError):
            await BleakClient(device.address, timeout=0.5).connect()

        await simulator.enter_async_context(gateway_radio(air.link, f"tcp-server:127.0.0.1:{port}"))
        heard.values.clear()
        await until(lambda: heard.values)
        async with BleakClient(device) as again:
            assert await again.read_gatt_char(STATUS)


async def test_open_radio_without_simulator_says_what_to_do() -> None:
    with pytest.raises(BleakBluetoothNotAvailableError, match="start kidjamo-sim bracelets"):
        async with open_radio(f"tcp-client:127.0.0.1:{free_port()}"):
            pass
