"""Every kind of event, injected into bracelets on a virtual radio link and observed through plain bleak."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import timedelta

import pytest
from bleak import BleakClient, BleakScanner
from bleak.exc import BleakError

from firmware_sim.device.simulated_device import SimulatedBleBracelet
from firmware_sim.faults.injector import Injector
from firmware_sim.faults.scenario_file import EventKind, Occurrence
from firmware_sim.physiology.body import patients
from firmware_sim.radio.device import RadioState
from firmware_sim.sent_readings import SentReadingsLog
from firmware_sim.timeline import Timeline
from tests.firmware_sim.air import BOOT, Air, ReceivedValues, calm, find, now_ms, until
from vitals.errors import MalformedRecord
from vitals.gatt.bracelet import LIVE_RECORD, STATUS, BraceletRecord, BraceletStatus, RecordFlag

DEVICE = "ble-001"


def event(kind: EventKind, at_s: float = 0.0, for_s: float = 0.0, value: float = 0.0) -> Occurrence:
    return Occurrence(at_s, DEVICE, kind, for_s, value)


async def worn_bracelet(air: Air, *, stored: int = 0, secure: bool = False) -> SimulatedBleBracelet:
    return SimulatedBleBracelet(
        next(patients()), 7, await air.add(stored=stored, secure=secure), SentReadingsLog(None)
    )


@asynccontextmanager
async def injected(air: Air, device: SimulatedBleBracelet, *what: Occurrence) -> AsyncIterator[Injector]:
    """Inject the events inside the block; end them after it."""
    timeline = Timeline.begin(1.0, None)
    injector = Injector(iter(what), [device], timeline, (air.link, air.controller), 7)
    running = asyncio.create_task(injector.run())
    try:
        await until(lambda: injector.injected or running.done())
        yield injector
    finally:
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running


def flags_of(values: Sequence[bytes]) -> list[RecordFlag]:
    return [BraceletRecord.from_bytes(value).flags for value in values]


async def test_link_loss_ends_the_link_and_the_bracelet_advertises_again(air: Air) -> None:
    device = await worn_bracelet(air)
    lost = asyncio.Event()
    client = BleakClient(await find(), disconnected_callback=lambda _: lost.set())
    await client.connect()
    assert device.peripheral.state is RadioState.CONNECTED
    async with injected(air, device, event(EventKind.LINK_LOSS)) as injector:
        await asyncio.wait_for(lost.wait(), 2)
        await until(lambda: device.peripheral.state is RadioState.ADVERTISING)
    assert injector.injected == {"link_loss": 1}


async def test_out_of_range_stops_advertising_until_it_ends(air: Air) -> None:
    device = await worn_bracelet(air)
    async with injected(air, device, event(EventKind.OUT_OF_RANGE, for_s=0.5)):
        await until(lambda: device.peripheral.state is RadioState.OFF)
        await until(lambda: device.peripheral.state is RadioState.ADVERTISING)


async def test_out_of_range_overlapping_silent_death_ends_with_the_last(air: Air) -> None:
    device = await worn_bracelet(air)
    short, long = event(EventKind.SILENT_DEATH, for_s=0.3), event(EventKind.OUT_OF_RANGE, for_s=1.2)
    async with injected(air, device, short, long):
        await until(lambda: device.peripheral.state is RadioState.OFF)
        await asyncio.sleep(0.6)
        assert device.peripheral.state is RadioState.OFF
        await until(lambda: device.peripheral.state is RadioState.ADVERTISING)


async def test_silent_death_leaves_a_link_that_never_responds(air: Air) -> None:
    device = await worn_bracelet(air)
    client = BleakClient(await find())
    await client.connect()
    events = [event(EventKind.SILENT_DEATH, for_s=1.0), event(EventKind.LINK_LOSS, at_s=0.2)]
    async with injected(air, device, *events):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5):
                await client.read_gatt_char(STATUS)
        assert client.is_connected, (
            "the gateway must not get a disconnection, even if the link is lost meanwhile"
        )
        await until(lambda: device.peripheral.state is RadioState.ADVERTISING)
        assert client.is_connected
        await client.disconnect()
        assert not client.is_connected
        async with BleakClient(await find()) as again:
            assert BraceletStatus.from_bytes(bytes(await again.read_gatt_char(STATUS))).boot == BOOT


async def test_slow_connect_delays_the_connection(air: Air) -> None:
    bracelet = await worn_bracelet(air)
    device, loop = await find(), asyncio.get_running_loop()
    async with injected(air, bracelet, event(EventKind.SLOW_CONNECT, for_s=30, value=0.6)):
        asked = loop.time()
        async with BleakClient(device) as client:
            assert loop.time() - asked >= 0.6
            assert await client.read_gatt_char(STATUS)
        await until(lambda: bracelet.peripheral.state is RadioState.ADVERTISING)


@pytest.mark.parametrize("kind", [EventKind.REFUSE_CONNECT, EventKind.SLOW_CONNECT])
async def test_connection_times_out_while_refused_or_slow(air: Air, kind: EventKind) -> None:
    bracelet = await worn_bracelet(air)
    device = await find()
    async with injected(air, bracelet, event(kind, for_s=30, value=20)):
        with pytest.raises(TimeoutError):
            await BleakClient(device, timeout=0.4).connect()
        assert bracelet.peripheral.state is RadioState.ADVERTISING
    async with BleakClient(device) as client:
        assert client.is_connected


async def test_slots_taken_refuses_another_link(air: Air) -> None:
    device = await worn_bracelet(air)
    await air.add()
    second = await find("Kidjamo-ble-002")
    async with BleakClient(await find()):
        async with injected(air, device, event(EventKind.SLOTS_TAKEN, for_s=30, value=1)):
            with pytest.raises(BleakError, match="CONNECTION_LIMIT_EXCEEDED"):
                await BleakClient(second).connect()
        async with BleakClient(second) as client:
            assert client.is_connected


async def test_slots_taken_overlapping_restores_the_adapters_limit(air: Air) -> None:
    device = await worn_bracelet(air)
    before = air.controller.max_links
    limits = [event(EventKind.SLOTS_TAKEN, for_s=s, value=value) for s, value in ((0.3, 1), (0.6, 2))]
    async with injected(air, device, *limits):
        await until(lambda: air.controller.max_links == 1)
        await until(lambda: air.controller.max_links == 2)
        await until(lambda: air.controller.max_links == before)


async def test_stale_bond_fails_the_next_connection(air: Air) -> None:
    device = await worn_bracelet(air, secure=True)
    async with BleakClient(await find(), pair=True):
        assert device.peripheral.secured
    async with injected(air, device, event(EventKind.STALE_BOND)):
        await asyncio.sleep(0.05)
    with pytest.raises(BleakError, match="PIN_OR_KEY_MISSING"):
        await BleakClient(await find()).connect()


@pytest.mark.parametrize(
    ("kind", "boot", "numbers", "clock_set"),
    [(EventKind.REBOOT, BOOT + 1, (0, 2), True), (EventKind.RESET, BOOT + 1, (1, 0), False)],
)
async def test_restarts(
    air: Air, kind: EventKind, boot: int, numbers: tuple[int, int], clock_set: bool
) -> None:
    device = await worn_bracelet(air, stored=3)
    async with injected(air, device, event(kind)):
        status = device.peripheral.bracelet.status(now_ms())
    assert (status.boot, (status.oldest_seq, status.newest_seq)) == (boot, numbers)
    assert device.peripheral.bracelet.clock.is_set is clock_set


@pytest.mark.parametrize(
    ("kind", "characteristic", "parse"),
    [
        (EventKind.GARBAGE, LIVE_RECORD, BraceletRecord.from_bytes),
        (EventKind.GARBAGE_STATUS, STATUS, BraceletStatus.from_bytes),
    ],
)
async def test_garbage_is_malformed(
    air: Air, kind: EventKind, characteristic: str, parse: Callable[[bytes], object]
) -> None:
    device, notes = await worn_bracelet(air), ReceivedValues()
    async with BleakClient(await find()) as client:
        await client.start_notify(characteristic, notes)
        async with injected(air, device, event(kind, value=3)):
            await until(lambda: len(notes.values) == 3)
    for value in notes.values:
        with pytest.raises(MalformedRecord):
            parse(value)


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        (EventKind.DUPLICATE, 1, [0, 0, 1, 2, 3]),
        (EventKind.REORDER, 1, [1, 0, 2, 3]),
        (EventKind.REORDER, 2, [1, 0, 3, 2]),
    ],
)
async def test_order_of_live_records(air: Air, kind: EventKind, value: int, expected: list[int]) -> None:
    device, live = await worn_bracelet(air), ReceivedValues()
    async with BleakClient(await find()) as client:
        await client.start_notify(LIVE_RECORD, live)
        async with injected(air, device, event(kind, value=value)):
            for _ in range(4):
                await device.measure(now_ms())
            await until(lambda: len(live.values) == len(expected))
    assert live.seqs == expected


@pytest.mark.parametrize(
    ("kind", "flag"),
    [
        (EventKind.TAKEN_OFF, RecordFlag.NO_CONTACT),
        (EventKind.MOTION, RecordFlag.MOTION),
        (EventKind.LOW_PERFUSION, RecordFlag.LOW_PERFUSION),
    ],
)
async def test_sensor_faults_overlap_and_end(air: Air, kind: EventKind, flag: RecordFlag) -> None:
    device, live = await worn_bracelet(air), ReceivedValues()
    async with BleakClient(await find()) as client:
        await client.start_notify(LIVE_RECORD, live)
        async with injected(air, device, event(kind, for_s=0.2), event(kind, for_s=0.8)):
            await asyncio.sleep(0.4)
            await device.measure(now_ms())
            await asyncio.sleep(0.6)
            await device.measure(now_ms())
            await until(lambda: len(live.values) == 2)
    during, after = flags_of(live.values)
    assert flag in during
    if kind is not EventKind.MOTION:  # a child also moves without a fault
        assert flag not in after
    measured = [BraceletRecord.from_bytes(value).measurements for value in live.values]
    assert (measured[0] is None) is (kind is EventKind.TAKEN_OFF)
    assert measured[1] is not None


async def test_battery_low_is_in_the_status(air: Air) -> None:
    device = await worn_bracelet(air)
    async with injected(air, device, event(EventKind.BATTERY, value=8)):
        assert device.peripheral.bracelet.status(now_ms()).battery_pct == 8


async def test_battery_empty_switches_off_and_then_restarts(air: Air) -> None:
    device = await worn_bracelet(air, stored=2)
    bracelet = device.peripheral.bracelet
    bracelet.set_charge(31, now_ms())
    async with injected(
        air, device, event(EventKind.BATTERY, for_s=0.5), event(EventKind.REBOOT, at_s=0.1)
    ) as injector:
        await until(lambda: device.peripheral.state is RadioState.OFF)
        await device.measure(now_ms())
        assert (bracelet.on, bracelet.unreleased) == (False, 2)
        await until(lambda: device.peripheral.state is RadioState.ADVERTISING)
        await device.measure(now_ms())
    status = bracelet.status(now_ms())
    assert (status.boot, status.newest_seq, status.battery_pct) == (BOOT + 1, 2, 31)
    assert not bracelet.clock.is_set
    assert injector.injected == {"battery": 1}, "without power it cannot reboot"


async def test_clock_wrong_and_unset(air: Air) -> None:
    device = await worn_bracelet(air)
    bracelet = device.peripheral.bracelet
    behind = -timedelta(days=365).total_seconds()
    async with injected(air, device, event(EventKind.CLOCK_WRONG, value=behind)):
        assert bracelet.clock_ms(now_ms()) - now_ms() == pytest.approx(behind * 1000, abs=500)
    async with injected(air, device, event(EventKind.CLOCK_UNSET)):
        await device.peripheral.publish(bracelet.measure(calm(), now_ms()))
    assert not bracelet.clock.is_set


async def test_clone_advertises_the_name_until_it_ends(air: Air) -> None:
    device = await worn_bracelet(air)
    seen: set[str] = set()
    async with BleakScanner(lambda device, data: seen.add(device.address) if data.local_name else None):
        async with injected(air, device, event(EventKind.CLONE, for_s=30)):
            await until(lambda: len(seen) == 2)
        seen.clear()
        await asyncio.sleep(0.3)
    assert seen == {device.peripheral.address}
