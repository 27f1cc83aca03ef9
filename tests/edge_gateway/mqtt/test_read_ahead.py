"""Guards the private part of paho that `ReadAheadClient` overrides, and checks what the override does."""

from __future__ import annotations

import inspect
import re
import socket
from importlib.metadata import version
from pathlib import Path

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion

from edge_gateway.mqtt.read_ahead import ReadAheadClient

CONNACK = b"\x20\x02\x00\x00"
PUBLISH = b"\x30\x05\x00\x01tab"


def test_sock_recv_of_the_installed_paho_can_be_overridden() -> None:
    installed = version("paho-mqtt")
    assert installed.startswith("2."), f"paho-mqtt {installed}: check that _sock_recv is still there"
    recv = getattr(paho.Client, "_sock_recv", None)
    assert recv is not None, f"paho-mqtt {installed} has no _sock_recv: ReadAheadClient has no effect"
    assert list(inspect.signature(recv).parameters) == ["self", "bufsize"]


def test_paho_is_pinned_below_the_next_major_version() -> None:
    pyproject = (Path(__file__).parents[3] / "pyproject.toml").read_text()
    assert re.search(r'"paho-mqtt[^"]*<3"', pyproject)


def test_packets_that_arrived_together_are_read_from_the_socket_once() -> None:
    reads: list[int] = []

    class CountingClient(ReadAheadClient):
        def _sock_recv(self, bufsize: int) -> bytes:
            if not self._ahead:
                reads.append(bufsize)
            return super()._sock_recv(bufsize)

    received: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = CountingClient(CallbackAPIVersion.VERSION2, "test", protocol=MQTTProtocolVersion.MQTTv311)
        client.on_message = lambda _client, _data, message: received.append(bytes(message.payload))
        client.connect(*listener.getsockname())
        broker, _ = listener.accept()
        with broker:
            broker.sendall(CONNACK + PUBLISH + PUBLISH)
            for _ in range(3):
                assert client.loop_read() == MQTTErrorCode.MQTT_ERR_SUCCESS
        assert received == [b"ab", b"ab"]
        assert len(reads) == 1
        assert not client.has_more()
