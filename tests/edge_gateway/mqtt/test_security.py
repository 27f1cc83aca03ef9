"""TLS, credentials and access rules of the shipped broker configuration, on a real mosquitto."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.reasoncodes import ReasonCode

from edge_gateway.config import MqttConfig
from edge_gateway.mqtt.session import MqttSession
from edge_gateway.mqtt.source import MqttSource
from edge_gateway.mqtt.state_topic import last_will
from edge_gateway.state import GatewayState
from tests.edge_gateway.secure_broker import PASSWORD, SecureBroker, make_certificates
from tests.waiting import PATIENCE_S, eventually
from vitals.reading import Reading
from vitals.topics import measurements_of

pytestmark = pytest.mark.servers

PAYLOAD = json.dumps({"timestamp": "2025-08-24T10:30:00Z", "measurements": {"spo2_pct": 85.0}})
NOT_AUTHORIZED = 0x87


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecureBroker]:
    secure_broker = SecureBroker(tmp_path_factory.mktemp("broker"), "gateway", "mqtt-001", "mqtt-002")
    secure_broker.start()
    try:
        yield secure_broker
    finally:
        secure_broker.stop()


class SecureMqttRig:
    """The gateway's MQTT session and source, and the states of the connection."""

    def __init__(self, config: MqttConfig) -> None:
        self.states: list[str] = []
        self.session = MqttSession(config, "ignored", last_will("gw"), self.states.append)
        patients = {"mqtt-001": "patient-001-ss", "mqtt-002": "patient-002-as"}
        self.source = MqttSource(self.session, patients, False, GatewayState("gw"))


@asynccontextmanager
async def secure_rig(broker: SecureBroker, **changes: object) -> AsyncIterator[SecureMqttRig]:
    settings = {
        "port": broker.port,
        "username": "gateway",
        "password_file": broker.password_file,
        "ca_file": broker.ca,
    }
    rig = SecureMqttRig(MqttConfig.model_validate(settings | changes))
    task = asyncio.create_task(rig.session.run())
    try:
        yield rig
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def publish(broker: SecureBroker, account: str, topic: str) -> int:
    """Publish as a bracelet and return the reason code of the acknowledgement."""
    codes: list[ReasonCode] = []
    client = paho.Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
    client.username_pw_set(account, PASSWORD)
    client.tls_set(str(broker.ca))
    client.on_publish = lambda _client, _data, _mid, reason, _properties: codes.append(reason)
    client.connect("127.0.0.1", broker.port)
    client.loop_start()
    try:
        client.publish(topic, PAYLOAD, qos=1).wait_for_publish(PATIENCE_S)
    finally:
        client.disconnect()
        client.loop_stop()
    return codes[0].value


async def test_bracelet_may_publish_only_its_own_readings(broker: SecureBroker) -> None:
    async with secure_rig(broker) as rig:
        await eventually(lambda: rig.session.connected)
        foreign = await asyncio.to_thread(publish, broker, "mqtt-001", measurements_of("mqtt-002"))
        own = await asyncio.to_thread(publish, broker, "mqtt-001", measurements_of("mqtt-001"))
        async with asyncio.timeout(PATIENCE_S):
            (arrival,) = await rig.source.inbox.take(1)
    assert (foreign, own) == (NOT_AUTHORIZED, 0)
    assert isinstance(arrival.content, Reading)
    assert arrival.content.device_id == "mqtt-001"


@pytest.mark.parametrize(
    ("topic", "allowed"),
    [
        ("kidjamo/gateways/gw/state", True),
        ("kidjamo/gateways/gw/notifications", True),
        ("kidjamo/patients/patient-001-ss/alarms", True),
        ("kidjamo/patients/patient-001-ss/notifications", True),
        ("kidjamo/bracelets/mqtt-001/measurements", False),
    ],
)
def test_gateway_may_publish_only_what_it_publishes(broker: SecureBroker, topic: str, allowed: bool) -> None:
    assert (publish(broker, "gateway", topic) != NOT_AUTHORIZED) is allowed


async def test_wrong_password_is_shown_as_the_reason(broker: SecureBroker, tmp_path: Path) -> None:
    wrong = tmp_path / "password"
    wrong.write_text("another one")
    async with secure_rig(broker, password_file=wrong) as rig:
        await eventually(lambda: rig.states)
        assert rig.states[0] == "away: refused: Not authorized"


async def test_certificate_of_another_authority_is_refused(broker: SecureBroker, tmp_path: Path) -> None:
    make_certificates(tmp_path)
    async with secure_rig(broker, ca_file=tmp_path / "ca.pem") as rig:
        await eventually(lambda: rig.states)
        assert "certificate verify failed" in rig.states[0]


async def test_password_is_never_sent_to_a_broker_without_tls(broker: SecureBroker) -> None:
    first_bytes: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        first_bytes.append(await reader.read(512))
        writer.write(b"\x20\x02\x00\x00")  # a CONNACK in plain text
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server, secure_rig(broker, port=server.sockets[0].getsockname()[1]) as rig:
        await eventually(lambda: len(first_bytes) >= 2)
        assert not rig.session.connected
        assert all(state.startswith("away: ") for state in rig.states)
    assert {first[0] for first in first_bytes} == {0x16}  # TLS handshake records, on each attempt
    assert not any(PASSWORD.encode() in first for first in first_bytes)
