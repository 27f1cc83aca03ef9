"""An MQTT bracelet: QoS 1, a bounded number of messages in flight, and its own queue."""

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

MAX_IN_FLIGHT = 20
RETRY_S = 1.0
"""Pause after the broker reports that there are no subscribers."""
_KEEPALIVE_S = 15
_RECONNECT_S = (1, 10)
_UNSUPPORTED_PROTOCOL_VERSION = 0x84


class MqttBracelet:
    """MQTT client that keeps each reading until the broker acknowledges it for at least one subscriber.

    Readings are queued here until fewer than `in_flight` are unacknowledged; paho keeps those in flight when
    the connection breaks and sends them again on the next one. MQTT 5 brokers report that there is no
    subscriber (3.1.1 brokers silently drop the reading): such readings go back into the queue. The client
    falls back to 3.1.1 if the broker supports nothing newer.

    Callbacks on paho's thread only post to the event loop, which owns all state; create the client while the
    loop runs.

    Args:
        device_id: serial number, also part of the MQTT client id.
        host, port: the broker.
        in_flight: most readings that may be unacknowledged at once.
    """

    def __init__(self, device_id: str, host: str, port: int, *, in_flight: int = MAX_IN_FLIGHT) -> None:
        self.device_id, self.connected = device_id, False
        self._offline = False
        self._host, self._port, self._max_in_flight = host, port, in_flight
        self._waiting: deque[Reading] = deque()
        self._in_flight: dict[int, Reading] = {}
        self._without_subscriber: list[Reading] = []
        self._last_warning = ""
        self._loop = asyncio.get_running_loop()
        self._client = self._new_client(MQTTProtocolVersion.MQTTv5)
        self._closing: set[asyncio.Task[None]] = set()

    @property
    def unacknowledged(self) -> int:
        """Number of readings that have not been acknowledged."""
        return len(self._waiting) + len(self._in_flight) + len(self._without_subscriber)

    def start(self) -> None:
        """Connect, and retry while the broker is unavailable."""
        self._client.loop_start()

    async def stop(self) -> None:
        """Publish the offline status and disconnect; unacknowledged readings are discarded."""
        if self.connected:
            self._publish_status("offline")
        await _close_client(self._client)

    async def go_offline(self) -> None:
        """Disconnect without a status message, as when out of range; readings stay queued."""
        self._offline, self.connected = True, False
        self._client.disconnect()
        await asyncio.to_thread(self._client.loop_stop)

    def go_online(self) -> None:
        """Connect again after `go_offline`."""
        self._offline = False
        self._client.connect_async(self._host, self._port, keepalive=_KEEPALIVE_S)
        self._client.loop_start()

    def discard_queue(self) -> None:
        """Discard queued readings, as when memory is erased; readings in flight may still arrive."""
        self._waiting.clear()
        self._without_subscriber.clear()

    def send(self, payload: bytes) -> None:
        """Publish any bytes as a measurement; they are neither queued nor counted."""
        self._client.publish(topics.measurements_of(self.device_id), payload, qos=1)

    def publish(self, reading: Reading) -> None:
        """Queue one reading for publishing."""
        self._waiting.append(reading)
        self._send()

    def _send(self) -> None:
        while (
            self.connected
            and not self._without_subscriber
            and self._waiting
            and len(self._in_flight) < self._max_in_flight
        ):
            reading = self._waiting[0]
            payload = json.dumps(reading.to_wire()).encode()
            sent = self._client.publish(topics.measurements_of(reading.device_id), payload, qos=1)
            if sent.rc not in (MQTTErrorCode.MQTT_ERR_SUCCESS, MQTTErrorCode.MQTT_ERR_NO_CONN):
                self._warn_once(f"not sent: {paho.error_string(sent.rc)}")
                return
            self._in_flight[sent.mid] = self._waiting.popleft()

    def _publish_status(self, state: str) -> None:
        status = json.dumps({"status": state}).encode()
        self._client.publish(topics.status_of(self.device_id), status, qos=1)

    def _on_connected(self, reason: ReasonCode) -> None:
        if reason.value == _UNSUPPORTED_PROTOCOL_VERSION:
            self._fall_back_to_mqtt_311()
        elif reason.is_failure:
            self._on_disconnected(str(reason))
        elif not self._offline:
            self.connected, self._last_warning = True, ""
            log.info("%s: connected to the broker at %s:%d", self.device_id, self._host, self._port)
            self._publish_status("online")
            self._send()

    def _on_disconnected(self, reason: str) -> None:
        self.connected = False
        if not self._offline:
            self._warn_once(f"no connection to the broker at {self._host}:{self._port} ({reason})")

    def _on_acknowledged(self, mid: int, reason: ReasonCode) -> None:
        reading = self._in_flight.pop(mid, None)
        if reading is not None and reason.value != 0:
            self._warn_once(f"the broker has no subscriber for its readings ({reason})")
            if not self._without_subscriber:
                self._loop.call_later(RETRY_S, self._requeue)
            self._without_subscriber.append(reading)
        self._send()

    def _requeue(self) -> None:
        self._waiting.extendleft(reversed(self._without_subscriber))
        self._without_subscriber.clear()
        self._send()

    def _warn_once(self, what: str) -> None:
        """Log a problem as a warning, and at debug level while it repeats."""
        level = logging.DEBUG if what == self._last_warning else logging.WARNING
        self._last_warning = what
        log.log(level, "%s: %s; readings are queued, retrying", self.device_id, what)

    def _fall_back_to_mqtt_311(self) -> None:
        task = self._loop.create_task(_close_client(self._client))
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)
        self._client = self._new_client(MQTTProtocolVersion.MQTTv311)
        self._client.loop_start()

    def _new_client(self, version: MQTTProtocolVersion) -> paho.Client:
        client = paho.Client(
            CallbackAPIVersion.VERSION2, client_id=f"kidjamo-{self.device_id}", protocol=version
        )
        # No last will: amqtt cannot parse an MQTT 5 one and would hang instead of refusing the version.
        client.max_inflight_messages_set(self._max_in_flight)
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


async def _close_client(client: paho.Client) -> None:
    client.on_disconnect = None
    client.disconnect()
    await asyncio.to_thread(client.loop_stop)
