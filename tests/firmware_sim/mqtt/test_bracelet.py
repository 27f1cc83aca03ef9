"""An MQTT bracelet against a real broker that stops and restarts."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from deploy.local.mqtt import MqttBroker
from deploy.local.ports import free_port
from firmware_sim.mqtt import bracelet as bracelet_module
from firmware_sim.mqtt.bracelet import MqttBracelet
from firmware_sim.timeline import moment
from tests.firmware_sim.air import calm, until
from vitals.reading import Reading, Signal, derived_message_id, parse_reading

pytestmark = pytest.mark.servers

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


class TopicSubscriber:
    """An independent MQTT client that records what it receives."""

    def __init__(self, port: int, topic: str) -> None:
        self.messages: list[tuple[str, bytes]] = []
        self.subscribed = False
        self.client = paho.Client(CallbackAPIVersion.VERSION2)
        self.client.reconnect_delay_set(1, 1)
        self.client.on_connect = lambda *_: self.client.subscribe(topic, qos=1) and None
        self.client.on_subscribe = lambda *_: setattr(self, "subscribed", True)
        self.client.on_message = lambda _c, _u, m: self.messages.append((m.topic, bytes(m.payload)))
        self.client.connect("127.0.0.1", port)
        self.client.loop_start()

    @property
    def seqs(self) -> list[int]:
        """Sequence numbers of the readings received."""
        return [json.loads(payload)["seq"] for topic, payload in self.messages if "measure" in topic]


@contextmanager
def subscriber(port: int, topic: str) -> Iterator[TopicSubscriber]:
    received = TopicSubscriber(port, topic)
    try:
        yield received
    finally:
        received.client.disconnect()
        received.client.loop_stop()


@asynccontextmanager
async def running_bracelet(device_id: str, port: int, in_flight: int = 20) -> AsyncIterator[MqttBracelet]:
    bracelet = MqttBracelet(device_id, "127.0.0.1", port, in_flight=in_flight)
    bracelet.start()
    try:
        yield bracelet
    finally:
        await bracelet.stop()


class LossyProxy:
    """A TCP proxy in front of the broker that can drop its responses and break connections."""

    def __init__(self, broker_port: int) -> None:
        self.port, self._broker_port = free_port(), broker_port
        self.drops_responses = False
        self._ends: list[asyncio.StreamWriter] = []
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> LossyProxy:
        self._server = await asyncio.start_server(self._connect, "127.0.0.1", self.port)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        self.cut()

    def cut(self) -> None:
        """Break every connection."""
        while self._ends:
            self._ends.pop().transport.abort()

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        responses, requests = await asyncio.open_connection("127.0.0.1", self._broker_port)
        self._ends += [writer, requests]
        for source, sink, drops in ((reader, requests, False), (responses, writer, True)):
            task = asyncio.create_task(self._forward(source, sink, drops))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _forward(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, drops: bool) -> None:
        with suppress(ConnectionError):
            while data := await source.read(65536):
                if not (drops and self.drops_responses):
                    sink.write(data)
            sink.close()


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[MqttBroker]:
    server = MqttBroker(tmp_path, free_port())
    server.start()
    yield server
    server.kill()


async def test_publish_sends_the_contracts_document(mqtt_broker: MqttBroker) -> None:
    topic = "kidjamo/bracelets/mqtt-t1/#"
    with subscriber(mqtt_broker.port, topic) as received:
        await until(lambda: received.subscribed)
        async with running_bracelet("mqtt-t1", mqtt_broker.port) as bracelet:
            bracelet.publish(reading(3, "mqtt-t1"))
            await until(lambda: bracelet.unacknowledged == 0 and received.seqs)
        await until(lambda: received.messages[-1][1] == b'{"status": "offline"}')
    assert [topic for topic, _ in received.messages] == [
        "kidjamo/bracelets/mqtt-t1/status",
        "kidjamo/bracelets/mqtt-t1/measurements",
        "kidjamo/bracelets/mqtt-t1/status",
    ]
    document = json.loads(received.messages[1][1])
    assert document == {
        "patient_id": "patient-001-ss",
        "device_id": "mqtt-t1",
        "timestamp": "2025-08-24T12:00:03Z",
        "measurements": {"spo2_pct": 97.0, "freq_card": 63.0, "freq_resp": 18.0, "temp_corp": 36.8},
        "message_id": "bce5c517-562f-51f3-b977-d31f5b429206",
        "seq": 3,
        "boot": 5,
        "signal": {"contact": True, "battery_pct": 90},
    }
    assert parse_reading(document) == reading(3, "mqtt-t1")


@pytest.fixture
def own_broker(tmp_path: Path) -> Iterator[MqttBroker]:
    """Start a separate broker: on the shared one, another test's session may still be subscribed."""
    broker = MqttBroker(tmp_path / "mqtt")
    broker.start()
    yield broker
    broker.stop()


async def test_publish_waits_for_a_subscriber(
    own_broker: MqttBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A broker drops messages without a subscriber; the bracelet keeps them in order."""
    monkeypatch.setattr(bracelet_module, "RETRY_S", 0.1)
    async with running_bracelet("mqtt-t5", own_broker.port) as bracelet:
        for seq in range(30):
            bracelet.publish(reading(seq, "mqtt-t5"))
        await asyncio.sleep(0.5)
        assert (bracelet.connected, bracelet.unacknowledged) == (True, 30)
        with subscriber(own_broker.port, "kidjamo/bracelets/mqtt-t5/measurements") as received:
            await until(lambda: bracelet.unacknowledged == 0)
            await until(lambda: len(received.seqs) == 30)
    assert received.seqs == list(range(30))


async def test_broker_without_mqtt_5_gets_mqtt_3_1_1(tmp_path: Path) -> None:
    """amqtt, the demo's broker if mosquitto is missing, refuses MQTT 5."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shutil, "which", lambda *_args, **_more: None)
        broker = MqttBroker(tmp_path, free_port())
    assert broker.kind == "amqtt"
    broker.start()
    try:
        with subscriber(broker.port, "kidjamo/bracelets/mqtt-t6/measurements") as received:
            await until(lambda: received.subscribed)
            async with running_bracelet("mqtt-t6", broker.port) as bracelet:
                for seq in range(10):
                    bracelet.publish(reading(seq, "mqtt-t6"))
                await until(lambda: bracelet.unacknowledged == 0)
            await until(lambda: sorted(received.seqs) == list(range(10)))
    finally:
        broker.stop()


async def test_start_waits_for_an_unavailable_broker(broker: MqttBroker) -> None:
    broker.stop()
    async with running_bracelet("mqtt-t2", broker.port) as bracelet:
        for seq in range(50):
            bracelet.publish(reading(seq, "mqtt-t2"))
        await asyncio.sleep(0.2)
        assert (bracelet.connected, bracelet.unacknowledged) == (False, 50)
        broker.start()
        with subscriber(broker.port, "kidjamo/bracelets/mqtt-t2/measurements") as received:
            await until(lambda: bracelet.unacknowledged == 0)
            await until(lambda: received.seqs == list(range(50)))


async def test_lost_acknowledgements_and_connection_lose_no_reading(mqtt_broker: MqttBroker) -> None:
    """The broker's responses are dropped, then the connection breaks: unacknowledged readings are resent."""
    with subscriber(mqtt_broker.port, "kidjamo/bracelets/mqtt-t3/measurements") as received:
        await until(lambda: received.subscribed)
        async with (
            LossyProxy(mqtt_broker.port) as proxy,
            running_bracelet("mqtt-t3", proxy.port, in_flight=5) as bracelet,
        ):
            for seq in range(10):
                bracelet.publish(reading(seq, "mqtt-t3"))
            await until(lambda: bracelet.unacknowledged == 0)
            proxy.drops_responses = True
            for seq in range(10, 40):
                bracelet.publish(reading(seq, "mqtt-t3"))
            await until(lambda: len(received.seqs) == 15)
            assert bracelet.unacknowledged == 30
            proxy.cut()
            await until(lambda: not bracelet.connected)
            for seq in range(40, 45):
                bracelet.publish(reading(seq, "mqtt-t3"))
            proxy.drops_responses = False
            await until(lambda: bracelet.unacknowledged == 0)
        await until(lambda: set(received.seqs) == set(range(45)))
    assert sorted(received.seqs) == sorted([*range(45), *range(10, 15)])


async def test_readings_in_flight_are_bounded(broker: MqttBroker) -> None:
    with subscriber(broker.port, "kidjamo/bracelets/mqtt-t4/measurements") as received:
        await until(lambda: received.subscribed)
        async with running_bracelet("mqtt-t4", broker.port, in_flight=5) as bracelet:
            await until(lambda: bracelet.connected)
            assert broker.service.pid
            os.kill(broker.service.pid, signal.SIGSTOP)
            for seq in range(30):
                bracelet.publish(reading(seq, "mqtt-t4"))
            assert (len(bracelet._in_flight), bracelet.unacknowledged) == (5, 30)
            os.kill(broker.service.pid, signal.SIGCONT)
            await until(lambda: bracelet.unacknowledged == 0)
