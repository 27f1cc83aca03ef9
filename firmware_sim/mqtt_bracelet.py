"""A bracelet that speaks MQTT: QoS 1, a bounded number in flight, its own queue while the broker is away."""

from __future__ import annotations

import asyncio
import json
import logging
from collections import deque
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode

from vitals import topics
from vitals.reading import Reading

log = logging.getLogger(__name__)

IN_FLIGHT = 20
_KEEPALIVE_S = 15
_RECONNECT_S = (1, 10)


class MqttBracelet:
    """Publishes readings and keeps each until the broker has acknowledged it.

    Readings wait in our queue until the connection has room for them. Those in flight when it breaks are kept
    by paho and sent again on the next one. Callbacks of paho's thread only post to the event loop: all state
    belongs to the loop. Must be made while the loop runs.

    Args:
        device_id: the bracelet, also the MQTT client id.
        host, port: the broker.
        in_flight: most readings that wait for their acknowledgement at once.
    """

    def __init__(self, device_id: str, host: str, port: int, *, in_flight: int = IN_FLIGHT) -> None:
        self.device_id, self.connected = device_id, False
        self._broker, self._most_in_flight = f"{host}:{port}", in_flight
        self._waiting: deque[Reading] = deque()
        self._in_flight: set[int] = set()
        self._complained = False
        self._loop = asyncio.get_running_loop()
        self._client = paho.Client(CallbackAPIVersion.VERSION2, client_id=f"kidjamo-{device_id}")
        self._client.max_inflight_messages_set(in_flight)
        self._client.reconnect_delay_set(*_RECONNECT_S)
        self._client.will_set(topics.status_of(device_id), _status("offline"), qos=1, retain=True)
        self._client.on_connect = self._on_connect
        self._client.on_connect_fail = self._on_connect_fail
        self._client.on_disconnect = self._on_disconnect
        self._client.on_publish = self._on_publish
        self._client.connect_async(host, port, keepalive=_KEEPALIVE_S)

    @property
    def unacknowledged(self) -> int:
        """Readings the broker has not acknowledged yet."""
        return len(self._waiting) + len(self._in_flight)

    def start(self) -> None:
        """Connect, and keep trying while the broker is away."""
        self._client.loop_start()

    async def stop(self) -> None:
        """Say goodbye; what is not acknowledged by now stays unsent."""
        if self.connected:
            self._client.publish(topics.status_of(self.device_id), _status("offline"), qos=1, retain=True)
        self._client.disconnect()
        await asyncio.to_thread(self._client.loop_stop)

    def publish(self, reading: Reading) -> None:
        """Queue one reading."""
        self._waiting.append(reading)
        self._send()

    def _send(self) -> None:
        while self.connected and self._waiting and len(self._in_flight) < self._most_in_flight:
            reading = self._waiting[0]
            payload = json.dumps(reading.to_wire()).encode()
            sent = self._client.publish(topics.measurements_of(reading.device_id), payload, qos=1)
            if sent.rc not in (MQTTErrorCode.MQTT_ERR_SUCCESS, MQTTErrorCode.MQTT_ERR_NO_CONN):
                log.warning("%s: not sent: %s", self.device_id, paho.error_string(sent.rc))
                return
            self._waiting.popleft()
            self._in_flight.add(sent.mid)

    def _connection_is(self, up: bool, reason: str) -> None:
        self.connected = up
        if up:
            self._complained = False
            log.info("%s: connected to the broker at %s", self.device_id, self._broker)
            self._client.publish(topics.status_of(self.device_id), _status("online"), qos=1, retain=True)
            self._send()
        else:
            level = logging.DEBUG if self._complained else logging.WARNING
            self._complained = True
            log.log(
                level,
                "%s: no connection to the broker at %s (%s); readings wait, trying again",
                self.device_id,
                self._broker,
                reason,
            )

    def _acknowledged(self, mid: int) -> None:
        self._in_flight.discard(mid)
        self._send()

    def _on_connect(
        self, _client: paho.Client, _userdata: Any, _flags: Any, reason: Any, _properties: Any
    ) -> None:
        self._loop.call_soon_threadsafe(self._connection_is, not reason.is_failure, str(reason))

    def _on_connect_fail(self, _client: paho.Client, _userdata: Any) -> None:
        self._loop.call_soon_threadsafe(self._connection_is, False, "it does not answer")

    def _on_disconnect(
        self, _client: paho.Client, _userdata: Any, _flags: Any, reason: Any, _properties: Any
    ) -> None:
        if reason.is_failure:
            self._loop.call_soon_threadsafe(self._connection_is, False, str(reason))

    def _on_publish(
        self, _client: paho.Client, _userdata: Any, mid: int, _reason: Any, _properties: Any
    ) -> None:
        self._loop.call_soon_threadsafe(self._acknowledged, mid)


def _status(state: str) -> bytes:
    return json.dumps({"status": state}).encode()
