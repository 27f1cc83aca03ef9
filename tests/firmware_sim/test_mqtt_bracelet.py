"""An MQTT bracelet against a real broker that comes and goes."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from deploy.local.mqtt import MqttBroker
from deploy.local.ports import free_port
from firmware_sim.mqtt_bracelet import MqttBracelet
from firmware_sim.timeline import moment
from tests.firmware_sim.air import calm, until
from vitals.reading import Reading, Signal, derived_message_id, parse_reading

NOON = 1_756_036_800_000


def reading(seq: int, device_id: str) -> Reading:
    return Reading(
        patient_id="patient-001-ss",
        device_id=device_id,
        timestamp=moment(NOON + 1000 * seq),
        measurements=calm(seq),
        message_id=derived_message_id(device_id, 5, seq, NOON + 1000 * seq),
        seq=seq,
        boot=5,
        signal=Signal(contact=True, battery_pct=90),
    )


class Subscriber:
    """An independent client with a session that outlives it."""

    def __init__(self, port: int, topic: str) -> None:
        self.messages: list[tuple[str, bytes, bool]] = []
        self.subscribed = False
        self.client = paho.Client(CallbackAPIVersion.VERSION2, "subscriber", clean_session=False)
        self.client.reconnect_delay_set(1, 1)
        self.client.on_connect = lambda *_: self.client.subscribe(topic, qos=1) and None
        self.client.on_subscribe = lambda *_: setattr(self, "subscribed", True)
        self.client.on_message = lambda _c, _u, m: self.messages.append((m.topic, m.payload, m.retain))
        self.client.connect("127.0.0.1", port)
        self.client.loop_start()

    @property
    def seqs(self) -> list[int]:
        """Sequence numbers received."""
        return [json.loads(payload)["seq"] for topic, payload, _ in self.messages if "measure" in topic]


@contextmanager
def subscriber(port: int, topic: str) -> Iterator[Subscriber]:
    made = Subscriber(port, topic)
    try:
        yield made
    finally:
        made.client.disconnect()
        made.client.loop_stop()


@asynccontextmanager
async def bracelet(device_id: str, port: int, in_flight: int = 20) -> AsyncIterator[MqttBracelet]:
    made = MqttBracelet(device_id, "127.0.0.1", port, in_flight=in_flight)
    made.start()
    try:
        yield made
    finally:
        await made.stop()


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[MqttBroker]:
    made = MqttBroker(tmp_path, free_port())
    made.start()
    yield made
    made.kill()


async def test_publishes_what_the_contract_describes(mqtt_broker: MqttBroker) -> None:
    topic = "kidjamo/bracelets/mqtt-t1/#"
    with subscriber(mqtt_broker.port, topic) as heard:
        await until(lambda: heard.subscribed)
        async with bracelet("mqtt-t1", mqtt_broker.port) as made:
            made.publish(reading(3, "mqtt-t1"))
            await until(lambda: made.unacknowledged == 0 and heard.seqs)
        await until(lambda: heard.messages[-1][1] == b'{"status": "offline"}')
    assert [topic for topic, _, _ in heard.messages] == [
        "kidjamo/bracelets/mqtt-t1/status",
        "kidjamo/bracelets/mqtt-t1/measurements",
        "kidjamo/bracelets/mqtt-t1/status",
    ]
    document = json.loads(heard.messages[1][1])
    assert document == {
        "patient_id": "patient-001-ss",
        "device_id": "mqtt-t1",
        "timestamp": "2025-08-24T12:00:03Z",
        "measurements": {"spo2_pct": 97.0, "freq_card": 63.0, "freq_resp": 18.0, "temp_corp": 36.8},
        "message_id": "MESSAGE_ID",
        "seq": 3,
        "boot": 5,
        "signal": {"contact": True, "battery_pct": 90},
    }
    assert parse_reading(document) == reading(3, "mqtt-t1")


async def test_broker_away_at_the_start_is_waited_for(broker: MqttBroker) -> None:
    broker.stop()
    async with bracelet("mqtt-t2", broker.port) as made:
        for seq in range(50):
            made.publish(reading(seq, "mqtt-t2"))
        await asyncio.sleep(0.2)
        assert (made.connected, made.unacknowledged) == (False, 50)
        broker.start()
        await until(lambda: made.unacknowledged == 0, 15)


async def test_broker_killed_nothing_is_lost(broker: MqttBroker) -> None:
    """Frozen with readings in flight, then killed: on the next connection they come again."""
    topic = "kidjamo/bracelets/mqtt-t3/measurements"
    with subscriber(broker.port, topic) as heard:
        await until(lambda: heard.subscribed)
        async with bracelet("mqtt-t3", broker.port, in_flight=5) as made:
            for seq in range(10):
                made.publish(reading(seq, "mqtt-t3"))
            await until(lambda: made.unacknowledged == 0)
            await until(lambda: len(heard.seqs) == 10)
            assert broker.service.pid
            os.kill(broker.service.pid, signal.SIGSTOP)
            for seq in range(10, 40):
                made.publish(reading(seq, "mqtt-t3"))
            await asyncio.sleep(0.2)
            assert made.unacknowledged == 30
            broker.kill()
            await until(lambda: not made.connected)
            for seq in range(40, 45):
                made.publish(reading(seq, "mqtt-t3"))
            heard.subscribed = False
            broker.start()
            await until(lambda: heard.subscribed, 15)
            await until(lambda: made.unacknowledged == 0, 15)
            await until(lambda: set(heard.seqs) >= set(range(10, 45)), 15)
    assert set(heard.seqs) == set(range(45))


async def test_in_flight_is_bounded(broker: MqttBroker) -> None:
    async with bracelet("mqtt-t4", broker.port, in_flight=5) as made:
        await until(lambda: made.connected)
        assert broker.service.pid
        os.kill(broker.service.pid, signal.SIGSTOP)
        for seq in range(30):
            made.publish(reading(seq, "mqtt-t4"))
        assert len(made._in_flight) == 5
        os.kill(broker.service.pid, signal.SIGCONT)
        await until(lambda: made.unacknowledged == 0)
