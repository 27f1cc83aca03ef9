"""A bracelet that speaks MQTT: QoS 1, a bounded number in flight, and its own queue."""

from __future__ import annotations

import asyncio
import json
import logging
from collections import deque
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.reasoncodes import ReasonCode

from vitals import topics
from vitals.reading import Reading

log = logging.getLogger(__name__)

IN_FLIGHT = 20
RETRY_S = 1.0
"""Pause after the broker said that nobody listens."""
_KEEPALIVE_S = 15
_RECONNECT_S = (1, 10)
_UNSUPPORTED_PROTOCOL_VERSION = 0x84


class MqttBracelet:
    """Publishes readings and keeps each until the broker has taken it for somebody.

    Readings wait in our queue until the connection has room for them; those in flight when it breaks are kept
    by paho and sent again on the next one. MQTT 5 brokers tell when nobody has subscribed (3.1.1 brokers drop
    the reading without a word): such readings go back into the queue. A broker that knows only 3.1.1 gets
    that.

    Callbacks of paho's thread only post to the event loop: all state belongs to the loop. Must be made while
    the loop runs.

    Args:
        device_id: the bracelet, also part of the MQTT client id.
        host, port: the broker.
        in_flight: most readings that wait for their acknowledgement at once.
    """

    def __init__(self, device_id: str, host: str, port: int, *, in_flight: int = IN_FLIGHT) -> None:
        self.device_id, self.connected = device_id, False
        self._away = False
        self._host, self._port, self._most_in_flight = host, port, in_flight
        self._waiting: deque[Reading] = deque()
        self._in_flight: dict[int, Reading] = {}
        self._unheard: list[Reading] = []
        self._last_complaint = ""
        self._loop = asyncio.get_running_loop()
        self._client = self._new_client(MQTTProtocolVersion.MQTTv5)
        self._ending: set[asyncio.Task[None]] = set()

    @property
    def unacknowledged(self) -> int:
        """Readings nobody has taken yet."""
        return len(self._waiting) + len(self._in_flight) + len(self._unheard)

    def start(self) -> None:
        """Connect, and keep trying while the broker is away."""
        self._client.loop_start()

    async def stop(self) -> None:
        """Say goodbye; what is not acknowledged by now stays unsent."""
        if self.connected:
            self._say("offline")
        await _end(self._client)

    async def leave(self) -> None:
        """Be gone without a word, as out of range; readings wait."""
        self._away, self.connected = True, False
        self._client.disconnect()
        await asyncio.to_thread(self._client.loop_stop)

    def come_back(self) -> None:
        """Connect again; a client that was stopped does not by itself."""
        self._away = False
        self._client.connect_async(self._host, self._port, keepalive=_KEEPALIVE_S)
        self._client.loop_start()

    def forget(self) -> None:
        """Lose what waits, as with a memory that is wiped; what is on its way may still arrive."""
        self._waiting.clear()
        self._unheard.clear()

    def send(self, payload: bytes) -> None:
        """Publish bytes as a measurement, whatever they are; nobody waits for them to arrive."""
        self._client.publish(topics.measurements_of(self.device_id), payload, qos=1)

    def publish(self, reading: Reading) -> None:
        """Queue one reading."""
        self._waiting.append(reading)
        self._send()

    def _send(self) -> None:
        while (
            self.connected
            and not self._unheard
            and self._waiting
            and len(self._in_flight) < self._most_in_flight
        ):
            reading = self._waiting[0]
            payload = json.dumps(reading.to_wire()).encode()
            sent = self._client.publish(topics.measurements_of(reading.device_id), payload, qos=1)
            if sent.rc not in (MQTTErrorCode.MQTT_ERR_SUCCESS, MQTTErrorCode.MQTT_ERR_NO_CONN):
                self._complain(f"not sent: {paho.error_string(sent.rc)}")
                return
            self._in_flight[sent.mid] = self._waiting.popleft()

    def _say(self, state: str) -> None:
        status = json.dumps({"status": state}).encode()
        self._client.publish(topics.status_of(self.device_id), status, qos=1)

    def _on_connected(self, reason: ReasonCode) -> None:
        if reason.value == _UNSUPPORTED_PROTOCOL_VERSION:
            self._speak_older()
        elif reason.is_failure:
            self._on_disconnected(str(reason))
        elif not self._away:
            self.connected, self._last_complaint = True, ""
            log.info("%s: connected to the broker at %s:%d", self.device_id, self._host, self._port)
            self._say("online")
            self._send()

    def _on_disconnected(self, reason: str) -> None:
        self.connected = False
        if not self._away:
            self._complain(f"no connection to the broker at {self._host}:{self._port} ({reason})")

    def _on_acknowledged(self, mid: int, reason: ReasonCode) -> None:
        reading = self._in_flight.pop(mid, None)
        if reading is not None and reason.value != 0:
            self._complain(f"the broker has nobody for its readings ({reason})")
            if not self._unheard:
                self._loop.call_later(RETRY_S, self._try_again)
            self._unheard.append(reading)
        self._send()

    def _try_again(self) -> None:
        self._waiting.extendleft(reversed(self._unheard))
        self._unheard.clear()
        self._send()

    def _complain(self, what: str) -> None:
        """The first complaint of a kind is a warning."""
        level = logging.DEBUG if what == self._last_complaint else logging.WARNING
        self._last_complaint = what
        log.log(level, "%s: %s; readings wait, trying again", self.device_id, what)

    def _speak_older(self) -> None:
        task = self._loop.create_task(_end(self._client))
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)
        self._client = self._new_client(MQTTProtocolVersion.MQTTv311)
        self._client.loop_start()

    def _new_client(self, version: MQTTProtocolVersion) -> paho.Client:
        client = paho.Client(
            CallbackAPIVersion.VERSION2, client_id=f"kidjamo-{self.device_id}", protocol=version
        )
        # No last will: amqtt cannot read one of MQTT 5, and would hang instead of refusing the version.
        client.max_inflight_messages_set(self._most_in_flight)
        client.reconnect_delay_set(*_RECONNECT_S)

        def post(call: Any, *arguments: object) -> None:
            self._loop.call_soon_threadsafe(lambda: client is self._client and call(*arguments))

        client.on_connect = lambda _client, _data, _flags, reason, _properties: post(
            self._on_connected, reason
        )
        client.on_connect_fail = lambda _client, _data: post(self._on_disconnected, "it does not answer")
        client.on_disconnect = lambda _client, _data, _flags, reason, _properties: post(
            self._on_disconnected, str(reason)
        )
        client.on_publish = lambda _client, _data, mid, reason, _properties: post(
            self._on_acknowledged, mid, reason
        )
        client.connect_async(self._host, self._port, keepalive=_KEEPALIVE_S)
        return client


async def _end(client: paho.Client) -> None:
    client.on_disconnect = None
    client.disconnect()
    await asyncio.to_thread(client.loop_stop)
