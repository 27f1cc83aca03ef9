"""Events injected into MQTT bracelets on a real broker."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest

from deploy.local.mqtt import MqttBroker
from firmware_sim.device.simulated_device import SimulatedMqttBracelet
from firmware_sim.faults.injector import Injector
from firmware_sim.faults.scenario_file import EventKind, Occurrence
from firmware_sim.firmware.bracelet import Bracelet
from firmware_sim.mqtt.bracelet import MqttBracelet
from firmware_sim.physiology.body import patients
from firmware_sim.sent_readings import SentReadingsLog
from firmware_sim.timeline import Timeline
from tests.firmware_sim.air import BOOT, now_ms, until
from tests.firmware_sim.mqtt.test_bracelet import TopicSubscriber, subscriber


@asynccontextmanager
async def connected_bracelet(
    device_id: str, broker: MqttBroker
) -> AsyncIterator[tuple[SimulatedMqttBracelet, TopicSubscriber]]:
    """Yield a bracelet connected to the broker, and a subscriber to its topics."""
    client = MqttBracelet(device_id, "127.0.0.1", broker.port)
    with subscriber(broker.port, f"kidjamo/bracelets/{device_id}/#") as received:
        await until(lambda: received.subscribed)
        client.start()
        try:
            await until(lambda: client.connected)
            yield (
                SimulatedMqttBracelet(
                    next(patients()), 7, Bracelet(device_id, BOOT, now_ms()), client, SentReadingsLog(None)
                ),
                received,
            )
        finally:
            await client.stop()


@asynccontextmanager
async def injected(
    device: SimulatedMqttBracelet, kind: EventKind, for_s: float = 0, value: float = 0
) -> AsyncIterator[None]:
    """Inject the event inside the block; end it after it."""
    what = Occurrence(0.0, device.device_id, kind, for_s, value)
    injector = Injector(iter((what,)), [device], Timeline.begin(1.0, None), None, 7)
    running = asyncio.create_task(injector.run())
    try:
        await until(lambda: injector.injected or running.done())
        yield
    finally:
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running


async def test_out_of_range_delivers_readings_taken_meanwhile(mqtt_broker: MqttBroker) -> None:
    async with connected_bracelet("mqtt-f1", mqtt_broker) as (device, received):
        async with injected(device, EventKind.OUT_OF_RANGE, for_s=0.6):
            await until(lambda: not device.connected)
            for _ in range(3):
                await device.measure(now_ms())
            await asyncio.sleep(0.2)
            assert (device.pending, received.seqs) == (3, [])
            await until(lambda: device.connected)
            await until(lambda: device.pending == 0)
        await until(lambda: received.seqs == [0, 1, 2])


async def test_battery_empty_measures_nothing_and_restarts(mqtt_broker: MqttBroker) -> None:
    async with connected_bracelet("mqtt-f2", mqtt_broker) as (device, received):
        async with injected(device, EventKind.BATTERY, for_s=0.4):
            await until(lambda: not device.state.on)
            await device.measure(now_ms())
            await until(lambda: device.connected)
            await device.measure(now_ms())
            await until(lambda: received.seqs == [0])
        assert (device.state.boot, device.state.battery_pct(now_ms())) == (BOOT + 1, 100)
        assert device.state.clock.is_set, "the network sets it"


@pytest.mark.parametrize(("kind", "next_seq"), [(EventKind.REBOOT, 2), (EventKind.RESET, 0)])
async def test_restarts(mqtt_broker: MqttBroker, kind: EventKind, next_seq: int) -> None:
    async with connected_bracelet(f"mqtt-{kind}", mqtt_broker) as (device, received):
        for _ in range(2):
            await device.measure(now_ms())
        # an unacknowledged reading would be sent again
        await until(lambda: received.seqs == [0, 1] and not device.pending)
        async with injected(device, kind):
            await until(lambda: device.state.boot == BOOT + 1 and device.connected)
            await device.measure(now_ms())
            await until(lambda: received.seqs == [0, 1, next_seq])


@pytest.mark.parametrize(
    ("kind", "expected"), [(EventKind.DUPLICATE, [0, 0, 1, 2]), (EventKind.REORDER, [1, 0, 2])]
)
async def test_order(mqtt_broker: MqttBroker, kind: EventKind, expected: list[int]) -> None:
    async with connected_bracelet(f"mqtt-{kind}", mqtt_broker) as (device, received):
        async with injected(device, kind, value=1):
            for _ in range(3):
                await device.measure(now_ms())
            await until(lambda: len(received.seqs) == len(expected))
        assert received.seqs == expected


async def test_reorder_sends_a_delayed_reading_at_the_end(mqtt_broker: MqttBroker) -> None:
    async with connected_bracelet("mqtt-f6", mqtt_broker) as (device, received):
        async with injected(device, EventKind.REORDER, value=1):
            await device.measure(now_ms())
            assert device.pending == 1
        await until(lambda: received.seqs == [0])
        assert device.pending == 0


async def test_garbage(mqtt_broker: MqttBroker) -> None:
    async with connected_bracelet("mqtt-f7", mqtt_broker) as (device, received):
        async with injected(device, EventKind.GARBAGE, value=2):
            await until(lambda: sum(topic.endswith("measurements") for topic, _ in received.messages) == 2)
        assert [len(payload) for topic, payload in received.messages if "measure" in topic] == [24, 24]
