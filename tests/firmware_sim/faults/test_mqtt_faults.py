"""Events of MQTT bracelets, on a real broker."""

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
async def worn_by(
    device_id: str, broker: MqttBroker
) -> AsyncIterator[tuple[SimulatedMqttBracelet, TopicSubscriber]]:
    """A bracelet on the broker, and somebody who listens."""
    client = MqttBracelet(device_id, "127.0.0.1", broker.port)
    with subscriber(broker.port, f"kidjamo/bracelets/{device_id}/#") as heard:
        await until(lambda: heard.subscribed)
        client.start()
        try:
            await until(lambda: client.connected)
            yield (
                SimulatedMqttBracelet(
                    next(patients()), 7, Bracelet(device_id, BOOT, now_ms()), client, SentReadingsLog(None)
                ),
                heard,
            )
        finally:
            await client.stop()


@asynccontextmanager
async def befallen(
    worn: SimulatedMqttBracelet, kind: EventKind, for_s: float = 0, value: float = 0
) -> AsyncIterator[None]:
    """Inside, it happens; outside, it is over."""
    what = Occurrence(0.0, worn.device_id, kind, for_s, value)
    injector = Injector(iter((what,)), [worn], Timeline.begin(1.0, None), None, 7)
    running = asyncio.create_task(injector.run())
    try:
        await until(lambda: injector.done or running.done())
        yield
    finally:
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running


async def test_out_of_range_delivers_what_was_measured_meanwhile(mqtt_broker: MqttBroker) -> None:
    async with worn_by("mqtt-f1", mqtt_broker) as (worn, heard):
        async with befallen(worn, EventKind.OUT_OF_RANGE, for_s=0.6):
            await until(lambda: not worn.connected)
            for _ in range(3):
                await worn.measure(now_ms())
            await asyncio.sleep(0.2)
            assert (worn.pending, heard.seqs) == (3, [])
            await until(lambda: worn.connected)
            await until(lambda: worn.pending == 0)
        await until(lambda: heard.seqs == [0, 1, 2])


async def test_battery_empty_measures_nothing_and_restarts(mqtt_broker: MqttBroker) -> None:
    async with worn_by("mqtt-f2", mqtt_broker) as (worn, heard):
        async with befallen(worn, EventKind.BATTERY, for_s=0.4):
            await until(lambda: not worn.state.on)
            await worn.measure(now_ms())
            await until(lambda: worn.connected)
            await worn.measure(now_ms())
            await until(lambda: heard.seqs == [0])
        assert (worn.state.boot, worn.state.battery_pct(now_ms())) == (BOOT + 1, 100)
        assert worn.state.clock.is_set, "the network sets it"


@pytest.mark.parametrize(("kind", "next_seq"), [(EventKind.REBOOT, 2), (EventKind.RESET, 0)])
async def test_restarts(mqtt_broker: MqttBroker, kind: EventKind, next_seq: int) -> None:
    async with worn_by(f"mqtt-{kind}", mqtt_broker) as (worn, heard):
        for _ in range(2):
            await worn.measure(now_ms())
        # not acknowledged yet, it would rightly be sent again
        await until(lambda: heard.seqs == [0, 1] and not worn.pending)
        async with befallen(worn, kind):
            await until(lambda: worn.state.boot == BOOT + 1 and worn.connected)
            await worn.measure(now_ms())
            await until(lambda: heard.seqs == [0, 1, next_seq])


@pytest.mark.parametrize(
    ("kind", "expected"), [(EventKind.DUPLICATE, [0, 0, 1, 2]), (EventKind.REORDER, [1, 0, 2])]
)
async def test_order(mqtt_broker: MqttBroker, kind: EventKind, expected: list[int]) -> None:
    async with worn_by(f"mqtt-{kind}", mqtt_broker) as (worn, heard):
        async with befallen(worn, kind, value=1):
            for _ in range(3):
                await worn.measure(now_ms())
            await until(lambda: len(heard.seqs) == len(expected))
        assert heard.seqs == expected


async def test_reading_held_back_to_the_end_is_sent(mqtt_broker: MqttBroker) -> None:
    async with worn_by("mqtt-f6", mqtt_broker) as (worn, heard):
        async with befallen(worn, EventKind.REORDER, value=1):
            await worn.measure(now_ms())
            assert worn.pending == 1
        await until(lambda: heard.seqs == [0])
        assert worn.pending == 0


async def test_garbage(mqtt_broker: MqttBroker) -> None:
    async with worn_by("mqtt-f7", mqtt_broker) as (worn, heard):
        async with befallen(worn, EventKind.GARBAGE, value=2):
            await until(lambda: sum(topic.endswith("measurements") for topic, _ in heard.messages) == 2)
        assert [len(payload) for topic, payload in heard.messages if "measure" in topic] == [24, 24]
