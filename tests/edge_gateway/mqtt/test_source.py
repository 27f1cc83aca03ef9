"""MQTT bracelets on a real broker: accepted or refused, acknowledged only when durable, also in outages."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from deploy.local.mqtt import MqttBroker
from deploy.local.ports import free_port
from edge_gateway.alarms.evaluator import AlarmEvaluator
from edge_gateway.alarms.notifiers import MqttNotifier
from edge_gateway.config import MqttConfig
from edge_gateway.inbox import DeadLetter, InboxItem
from edge_gateway.mqtt import session as session_module
from edge_gateway.mqtt.session import MqttSession
from edge_gateway.mqtt.source import MqttSource
from edge_gateway.mqtt.state_topic import last_will
from edge_gateway.state import Counters, GatewayState
from runtime.notification_queue import NotificationQueue
from tests.edge_gateway.helpers import a_reading
from tests.waiting import PATIENCE_S, eventually
from vitals.errors import InvalidReading, NotNotified
from vitals.reading import NAMESPACE, Reading, Source
from vitals.topics import measurements_of, status_of

VALUES = {"freq_card": 120, "spo2_pct": 85.0}
PAYLOAD: dict[str, Any] = {
    "patient_id": "patient-001-ss",
    "timestamp": "2025-08-24T10:30:00Z",
    "measurements": VALUES,
}


def a_session(port: int, name: str | None = None) -> MqttSession:
    name = name or f"test-{uuid4()}"
    return MqttSession(MqttConfig(port=port), name, last_will(name))


def a_source(
    session: MqttSession, *, accept_unknown: bool = True, **patients: str
) -> tuple[MqttSource, GatewayState]:
    state = GatewayState("gw")
    return MqttSource(session, patients, accept_unknown, state), state


@asynccontextmanager
async def running(session: MqttSession) -> AsyncIterator[None]:
    task = asyncio.create_task(session.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def publish(broker: MqttBroker, topic: str, payload: bytes | str | dict[str, Any]) -> None:
    await publish_many(broker, topic, [payload])


async def publish_many(
    broker: MqttBroker, topic: str, payloads: Sequence[bytes | str | dict[str, Any]]
) -> None:
    def send() -> None:
        client = paho.Client(CallbackAPIVersion.VERSION2)
        client.connect(broker.host, broker.port)
        client.loop_start()
        raws = (json.dumps(each) if isinstance(each, dict) else each for each in payloads)
        for sent in [client.publish(topic, raw, qos=1) for raw in raws]:
            sent.wait_for_publish(PATIENCE_S)
        client.disconnect()
        client.loop_stop()

    await asyncio.to_thread(send)


async def next_arrival(source: MqttSource, timeout_s: float = PATIENCE_S) -> InboxItem:
    async with asyncio.timeout(timeout_s):
        (arrival,) = await source.inbox.take(1)
    return arrival


def read(payload: dict[str, Any] | bytes, device: str = "demo-1", **options: Any) -> Reading:
    source, _ = a_source(a_session(1), **options)
    return source.read(device, payload if isinstance(payload, bytes) else json.dumps(payload).encode())


def test_identity_given_by_the_sender_is_kept() -> None:
    identity = uuid4()
    assert read(PAYLOAD | {"message_id": str(identity)}).message_id == identity


def test_identity_of_a_numbered_reading_is_derived() -> None:
    # uuid5 of "demo-1/4/17/1756031400000" in the project's namespace, written out
    reading = read(PAYLOAD | {"seq": 17, "boot": 4})
    assert reading.message_id == UUID("bdfa08a2-f31b-5d69-a947-dba89d7969aa")
    assert read(PAYLOAD | {"seq": 17}).message_id == UUID("1afd4e36-083c-5384-a43a-5999da15c7db")


def test_identity_of_a_payload_without_number_is_its_digest_and_device() -> None:
    payload = json.dumps(PAYLOAD).encode()
    assert read(payload).message_id == read(payload).message_id
    assert read(payload).message_id != read(payload, device="demo-2").message_id


def test_source_is_always_mqtt_whatever_the_payload_says() -> None:
    assert read(PAYLOAD | {"source": "api"}).source is Source.MQTT


def test_listed_bracelet_needs_no_patient_in_its_payload() -> None:
    bare = {name: value for name, value in PAYLOAD.items() if name != "patient_id"}
    assert read(bare, "worn", accept_unknown=False, worn="patient-9").patient_id == "patient-9"


@pytest.mark.parametrize(
    ("changes", "options", "field", "says"),
    [
        ({"device_id": "other"}, {}, "device_id", "names another bracelet than the topic"),
        ({}, {"accept_unknown": False}, "device_id", "is not a bracelet of this gateway"),
        ({"patient_id": None}, {}, "patient_id", "is needed from a bracelet that is not listed"),
        ({}, {"demo-1": "patient-2"}, "patient_id", "is another one than"),
        ({"measurements": {"spo2_pct": "85"}}, {}, "measurements.spo2_pct", "valid number"),
        ({"timestamp": "today"}, {}, "timestamp", "ISO 8601"),
    ],
)
def test_payload_refused_with_field_and_reason(
    changes: dict[str, Any], options: dict[str, Any], field: str, says: str
) -> None:
    with pytest.raises(InvalidReading) as refused:
        read(PAYLOAD | changes, **options)
    assert refused.value.field == field
    assert says in refused.value.reason


@pytest.mark.parametrize(
    "payload", [b"", b"not json", b"[]", b"\xff\xfe", b'{"measurements": {"spo2_pct": NaN}}']
)
async def test_malformed_payload_becomes_a_dead_letter_with_its_bytes(
    mqtt_broker: MqttBroker, payload: bytes
) -> None:
    session = a_session(mqtt_broker.port)
    source, state = a_source(session)
    device = f"mal-{uuid4()}"
    async with running(session):
        await eventually(lambda: session.connected)
        await publish(mqtt_broker, measurements_of(device), payload)
        while (letter := (await next_arrival(source)).content) and letter.device_id != device:
            pass
    assert isinstance(letter, DeadLetter)
    assert letter.original == payload
    assert sum(state.counters.refused.values()) == 1


async def test_reading_published_while_the_gateway_was_stopped_is_delivered(mqtt_broker: MqttBroker) -> None:
    name, device = f"test-{uuid4()}", f"away-{uuid4()}"
    session = a_session(mqtt_broker.port, name)
    a_source(session)
    async with running(session):
        await eventually(lambda: session.connected)
        await asyncio.sleep(0.2)
    await publish(mqtt_broker, measurements_of(device), PAYLOAD)
    session = a_session(mqtt_broker.port, name)
    source, _ = a_source(session)
    async with running(session):
        arrival = await next_arrival(source)
        assert isinstance(arrival.content, Reading)
        assert arrival.content.device_id == device
        arrival.confirm()
        await asyncio.sleep(0.1)


async def test_reading_not_confirmed_is_sent_again_and_a_confirmed_one_is_not(
    mqtt_broker: MqttBroker,
) -> None:
    name = f"test-{uuid4()}"
    devices = [f"puback-{n}-{uuid4()}" for n in range(2)]
    session = a_session(mqtt_broker.port, name)
    source, _ = a_source(session)
    async with running(session):
        await eventually(lambda: session.connected)
        await asyncio.sleep(0.2)
        for device in devices:
            await publish(mqtt_broker, measurements_of(device), PAYLOAD)
        first, second = await next_arrival(source), await next_arrival(source)
        first.confirm()
        await asyncio.sleep(0.2)
    session = a_session(mqtt_broker.port, name)
    source, _ = a_source(session)
    async with running(session):
        again = await next_arrival(source)
        assert again.content.device_id == second.content.device_id == devices[1]
        second.confirm()  # belongs to the old connection: it must have no effect
        again.confirm()
        with pytest.raises(TimeoutError):
            await next_arrival(source, 0.5)


async def test_reading_stops_at_the_limit_of_unacknowledged_messages(
    mqtt_broker: MqttBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Mosquitto 2.0 exceeds the receive maximum after acknowledgements; memory must not grow with it."""
    monkeypatch.setattr(session_module, "_MOST_UNACKNOWLEDGED", 20)
    session, device = a_session(mqtt_broker.port), f"demo-{uuid4()}"
    source, _ = a_source(session)
    seen: set[int | None] = set()
    async with running(session):
        await eventually(lambda: session.connected)
        await asyncio.sleep(0.3)  # until the subscription is made
        await publish_many(mqtt_broker, measurements_of(device), [PAYLOAD | {"seq": n} for n in range(200)])
        async with asyncio.timeout(PATIENCE_S):
            while len(seen) < 200:
                held = [(await source.inbox.take(1))[0] for _ in range(10)]
                assert len(source.inbox) <= 20
                for arrival in held:
                    assert isinstance(arrival.content, Reading)
                    seen.add(arrival.content.seq)
                    arrival.confirm()
    assert seen == set(range(200))


async def test_broker_that_is_down_at_start_and_restarted_is_a_state(tmp_path: Path) -> None:
    broker = MqttBroker(tmp_path, free_port())
    session = a_session(broker.port)
    source, _ = a_source(session)
    states: list[str] = []
    session._on_state = states.append
    async with running(session):
        await eventually(lambda: states)
        assert states[0].startswith("away: ")
        assert "refused" in states[0]
        await asyncio.to_thread(broker.start)
        try:
            await eventually(lambda: session.connected)
            await asyncio.to_thread(broker.kill)
            await eventually(lambda: not session.connected)
            await asyncio.to_thread(broker.start)
            await eventually(lambda: session.connected)
            await asyncio.sleep(0.2)
            await publish(broker, measurements_of("back"), PAYLOAD)
            arrival = await next_arrival(source)
            assert arrival.content.device_id == "back"
        finally:
            await asyncio.to_thread(broker.stop)


async def test_status_message_updates_the_link_and_gives_no_reading(mqtt_broker: MqttBroker) -> None:
    session = a_session(mqtt_broker.port)
    source, state = a_source(session, accept_unknown=False, worn="p")
    async with running(session):
        await eventually(lambda: session.connected)
        await asyncio.sleep(0.2)
        await publish(mqtt_broker, status_of("worn"), {"status": "offline", "battery_pct": 12})
        await publish(mqtt_broker, status_of("stranger"), "online")
        await eventually(lambda: "worn" in state.links)
        assert (state.links["worn"].state, state.links["worn"].battery_pct) == ("offline", 12)
        assert "stranger" not in state.links
        with pytest.raises(TimeoutError):
            await next_arrival(source, 0.3)


async def test_unknown_bracelet_is_logged_once_and_counted_each_time(
    caplog: pytest.LogCaptureFixture,
) -> None:
    source, state = a_source(a_session(1), accept_unknown=False)
    caplog.set_level(logging.WARNING)
    for _ in range(3):
        assert isinstance(source._content("stranger", json.dumps(PAYLOAD).encode()), DeadLetter)
    assert caplog.text.count("stranger") == 1
    assert state.counters.refused["device_id"] == 3
    assert "patient-001" not in caplog.text


async def test_alert_is_published_on_the_childs_topic(mqtt_broker: MqttBroker) -> None:
    received: list[tuple[str, dict[str, Any]]] = []
    listener = paho.Client(CallbackAPIVersion.VERSION2)
    listener.on_message = lambda _c, _d, m: received.append((m.topic, json.loads(m.payload)))
    listener.connect(mqtt_broker.host, mqtt_broker.port)
    listener.subscribe("kidjamo/patients/+/alarms", qos=1)
    listener.loop_start()
    session = a_session(mqtt_broker.port)
    counters = Counters()
    notifier = MqttNotifier(session, "gw-test")
    alarms = AlarmEvaluator([NotificationQueue("mqtt", notifier.publish_alert, counters)], counters)
    async with running(session):
        await eventually(lambda: session.connected)
        task = asyncio.create_task(alarms.run())
        reading = a_reading(spo2_pct=87.9)
        alarms.evaluate(reading)
        await eventually(lambda: any(each["message_id"] == str(reading.message_id) for _, each in received))
        task.cancel()
    listener.loop_stop()
    (topic, alert), *_ = [each for each in received if each[1]["message_id"] == str(reading.message_id)]
    assert topic == "kidjamo/patients/patient-001-ss/alarms"
    assert (alert["type"], alert["value"], alert["threshold"]) == ("CRITICAL_SPO2", 87.9, 88.0)


async def test_notifier_without_broker_raises_not_notified() -> None:
    alert = AlarmEvaluator([], Counters()).evaluate(a_reading(spo2_pct=80.0))[0]
    with pytest.raises(NotNotified):
        await MqttNotifier(a_session(1), "gw-test").publish_alert(alert)


def test_namespace_is_that_of_the_project() -> None:
    assert str(NAMESPACE) == "5f1d7b0e-2c7a-5e4b-9a64-6b69646a616d"
