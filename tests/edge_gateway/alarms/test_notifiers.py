"""Messages are published on the topic of the child or the gateway they are about."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from deploy.local.mqtt import MqttBroker
from edge_gateway.alarms.notifiers import MqttNotifier
from edge_gateway.config import MqttConfig
from edge_gateway.mqtt.session import MqttSession
from edge_gateway.mqtt.state_topic import last_will
from tests.waiting import eventually
from vitals.conditions import Priority
from vitals.errors import NotNotified
from vitals.message import Message, self_test

AT = datetime(2025, 8, 24, 2, 0, tzinfo=UTC)
ABOUT_A_CHILD = Message(
    "SPO2", "raised", "patient-001-ss", Priority.HIGH, 0, AT, "Awa", {"en": "Low oxygen", "fr": "Manque"}
)


def a_session(port: int) -> MqttSession:
    return MqttSession(MqttConfig(port=port), f"test-{uuid4()}", last_will("gw-test"))


async def test_message_is_published_on_the_topic_of_its_subject(mqtt_broker: MqttBroker) -> None:
    received: dict[str, Any] = {}

    def on_message(_client: paho.Client, _data: object, message: paho.MQTTMessage) -> None:
        received[message.topic] = json.loads(message.payload)

    listener = paho.Client(CallbackAPIVersion.VERSION2)
    listener.on_message = on_message
    listener.connect(mqtt_broker.host, mqtt_broker.port)
    listener.subscribe([("kidjamo/patients/+/notifications", 1), ("kidjamo/gateways/+/notifications", 1)])
    listener.loop_start()
    session = a_session(mqtt_broker.port)
    running = asyncio.create_task(session.run())
    await eventually(lambda: session.connected)
    notifier = MqttNotifier(session, "gw-test")
    await notifier.publish_message(ABOUT_A_CHILD)
    await notifier.publish_message(self_test("gw-test", AT))
    await eventually(lambda: len(received) == 2)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    listener.loop_stop()
    assert received["kidjamo/patients/patient-001-ss/notifications"]["message"] == "Low oxygen"
    assert received["kidjamo/gateways/gw-test/notifications"]["kind"] == "TEST"


async def test_message_without_a_broker_raises() -> None:
    with pytest.raises(NotNotified, match="unavailable"):
        await MqttNotifier(a_session(1), "gw-test").publish_message(ABOUT_A_CHILD)
