"""One MQTT connection for the whole gateway, reconnected until the gateway stops.

MQTT 5 is used where the broker supports it, else 3.1.1. With 5, the client sets how many messages may be
unacknowledged; with 3.1.1, mosquitto sends 20 at most, so no more than 20 share one flush of the disk.

The session is persistent (fixed client id, QoS 1): the broker keeps messages while the gateway is away, and a
message is acknowledged (PUBACK) only when its receiver says so. An acknowledgement belongs to the connection
on which its message arrived; after a reconnection the broker sends the message again, and that copy is
acknowledged.
"""

from __future__ import annotations

import asyncio
import logging
import random
import ssl
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from edge_gateway.config import MqttConfig
from edge_gateway.errors import BrokerUnavailable
from edge_gateway.mqtt.read_ahead import ReadAheadClient
from edge_gateway.mqtt.socket_driver import SocketDriver
from vitals.backoff import Backoff

log = logging.getLogger(__name__)

BACKOFF_CAP_S = 30.0
_CONNECT_S = 5.0
_CONNACK_S = 4.0
_PUBACK_S = 10.0
_STABLE_S = 10.0
_SESSION_EXPIRY_S = 0xFFFFFFFF
"""The broker never deletes the session."""
_MOST_UNACKNOWLEDGED = 0xFFFF
"""Messages that the broker may send before the first is acknowledged, the largest number in MQTT: while the
disk fails, readings are still evaluated. Some brokers (mosquitto 2.0) send more; then reading stops."""


@dataclass(frozen=True, slots=True)
class PendingMessage:
    """A message from the broker that is not acknowledged yet.

    Attributes:
        acknowledge: sends the PUBACK; does nothing once the message's connection is closed.
    """

    topic: str
    payload: bytes
    acknowledge: Callable[[], None]


class MqttSession:
    """Keeps one connection up, subscribes on each, and passes messages to a receiver.

    Args:
        will: topic and payload that the broker publishes, retained, if the gateway disappears.
        on_state: called with the connection's state in words when it changes.

    Attributes:
        receiver: called for each message of a subscription.
        subscriptions: topic filters.
    """

    def __init__(
        self,
        config: MqttConfig,
        client_id: str,
        will: tuple[str, bytes],
        on_state: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._config, self._on_state, self.will = config, on_state, will
        self.receiver: Callable[[PendingMessage], None] = lambda message: message.acknowledge()
        self.subscriptions: list[str] = []
        self._connection = 0
        self._connected = False
        self._unacknowledged = 0
        self._connack: asyncio.Future[BrokerUnavailable | None] | None = None
        self._lost = asyncio.Event()
        self._published: dict[int, asyncio.Future[None]] = {}
        self._client_id = client_id
        self._protocol = MQTTProtocolVersion.MQTTv5
        self._replace_client()

    @property
    def connected(self) -> bool:
        """Whether the broker is connected now."""
        return self._connected

    async def run(self) -> None:
        """Keep the connection up until cancelled, then disconnect."""
        backoff = Backoff(0.5, BACKOFF_CAP_S, random.random)
        try:
            while True:
                began = time.monotonic()
                try:
                    await self._connect()
                    self._report("connected", logging.INFO)
                    began = time.monotonic()
                    await self._until_lost()
                    reason = "connection lost"
                except BrokerUnavailable as error:
                    reason = str(error)
                if time.monotonic() - began > _STABLE_S:
                    backoff.reset()
                first = backoff.failures == 0
                wait = backoff.after_failure()
                self._report(f"away: {reason}", logging.WARNING if first else logging.DEBUG)
                await asyncio.sleep(wait)
        finally:
            await self._disconnect()

    @property
    def _v5(self) -> bool:
        return self._protocol is MQTTProtocolVersion.MQTTv5

    async def publish(self, topic: str, payload: bytes, *, qos: int = 1, retain: bool = False) -> bool:
        """Publish, and wait for the broker's acknowledgement. Return False without one."""
        if not self._connected:
            return False
        info = self._client.publish(topic, payload, qos, retain)
        if info.rc != MQTTErrorCode.MQTT_ERR_SUCCESS:
            return False
        done = asyncio.get_running_loop().create_future()
        self._published[info.mid] = done
        try:
            async with asyncio.timeout(_PUBACK_S):
                await done
        except (TimeoutError, ConnectionError):
            return False
        finally:
            self._published.pop(info.mid, None)
        return True

    def _replace_client(self) -> None:
        """Create a client for the current protocol version."""
        self._tls_configured = False
        self._client = ReadAheadClient(
            CallbackAPIVersion.VERSION2,
            self._client_id,
            clean_session=None if self._v5 else False,
            protocol=self._protocol,
            manual_ack=True,
            reconnect_on_failure=False,
        )
        self._client.connect_timeout = _CONNECT_S
        self._client.suppress_exceptions = True
        self._client.enable_logger(log.getChild("paho"))
        log.getChild("paho").setLevel(logging.WARNING)
        self._client.will_set(*self.will, qos=1, retain=True)
        self._client.on_connect = self._on_connect
        self._client.on_disconnect = lambda *_: self._on_lost()
        self._client.on_message = self._on_message
        self._client.on_publish = lambda _client, _data, mid, *_: self._on_published(mid)
        self._driver = SocketDriver(self._client, lambda: self._unacknowledged < _MOST_UNACKNOWLEDGED)

    async def _connect(self) -> None:
        """Connect and subscribe.

        Raises:
            BrokerUnavailable: the broker cannot be reached, refuses or does not answer.
        """
        self._lost.clear()
        self._connection += 1
        self._connack = asyncio.get_running_loop().create_future()
        try:
            self._configure()
            await self._open_socket()
        except (OSError, ValueError, UnicodeError) as error:
            raise BrokerUnavailable(str(error) or type(error).__name__) from error
        if not self._driver.start():
            raise BrokerUnavailable("closed at once")
        try:
            async with asyncio.timeout(_CONNACK_S):
                if refusal := await self._connack:
                    raise refusal
        except TimeoutError:
            raise BrokerUnavailable("the broker does not answer") from None
        finally:
            if not self._connected:
                self._close()
                self._switch_protocol()
        for topic in self.subscriptions:
            self._client.subscribe(topic, qos=1)

    def _configure(self) -> None:
        """Set credentials and TLS. Credentials are read each time, so that they can be replaced meanwhile."""
        config = self._config
        if config.username:
            password = config.password_file.read_text().strip() if config.password_file else None
            self._client.username_pw_set(config.username, password)
        if config.ca_file and not self._tls_configured:
            self._client.tls_set_context(ssl.create_default_context(cafile=str(config.ca_file)))
            self._tls_configured = True

    async def _open_socket(self) -> None:
        """Open the socket in a thread, since name look-up, TCP and TLS block."""
        config = self._config
        connect = partial(self._client.connect, config.host, config.port, config.keepalive_s)
        if self._v5:
            connect = partial(connect, clean_start=False, properties=_connect_properties())
        opening = asyncio.ensure_future(asyncio.to_thread(connect))
        try:
            await asyncio.shield(opening)
        except asyncio.CancelledError:
            with suppress(OSError, ValueError):
                await opening
            raise

    def _switch_protocol(self) -> None:
        """Use the other version of MQTT: the broker may not support this one."""
        self._protocol = MQTTProtocolVersion.MQTTv311 if self._v5 else MQTTProtocolVersion.MQTTv5
        self._replace_client()

    async def _until_lost(self) -> None:
        """Send keep-alives until the connection is lost."""
        while not self._lost.is_set():
            self._client.loop_misc()
            with suppress(TimeoutError):
                async with asyncio.timeout(1.0):
                    await self._lost.wait()

    async def _disconnect(self) -> None:
        """Send what is queued and a DISCONNECT, so that the broker does not publish the will."""
        if self._connected:
            self._client.disconnect()
            await self._driver.flush()
        self._close()
        self._report("stopped", logging.INFO)

    def _close(self) -> None:
        self._driver.close()
        self._on_lost()

    def _on_connect(self, _client: paho.Client, _data: Any, _flags: Any, code: Any, _properties: Any) -> None:
        self._connected = not code.is_failure
        if self._connack and not self._connack.done():
            self._connack.set_result(BrokerUnavailable(f"refused: {code}") if code.is_failure else None)

    def _on_lost(self) -> None:
        self._connected = False
        self._lost.set()
        if self._connack and not self._connack.done():
            self._connack.set_result(BrokerUnavailable("the broker closed the connection"))
        for waiting in self._published.values():
            if not waiting.done():
                waiting.set_exception(ConnectionError("the connection to the broker was lost"))

    def _on_message(self, client: paho.Client, _data: Any, message: paho.MQTTMessage) -> None:
        connection, mid, qos = self._connection, message.mid, message.qos
        self._unacknowledged += 1

        def acknowledge() -> None:
            self._count_acknowledged()
            if connection == self._connection and self._connected:
                client.ack(mid, qos)

        try:
            topic = message.topic
        except UnicodeDecodeError:
            acknowledge()
            return
        try:
            self.receiver(PendingMessage(topic, bytes(message.payload), acknowledge))
        except Exception:
            log.exception("a message could not be processed")  # not acknowledged: the broker keeps it
            self._count_acknowledged()

    def _count_acknowledged(self) -> None:
        """Count a message as acknowledged, and resume reading if it had stopped."""
        self._unacknowledged -= 1
        if self._unacknowledged == _MOST_UNACKNOWLEDGED - 1:
            self._driver.resume()

    def _on_published(self, mid: int) -> None:
        waiting = self._published.get(mid)
        if waiting and not waiting.done():
            waiting.set_result(None)

    def _report(self, state: str, level: int) -> None:
        log.log(level, "MQTT %s:%d: %s", self._config.host, self._config.port, state)
        self._on_state(state)


def _connect_properties() -> Properties:
    properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
    properties.SessionExpiryInterval = _SESSION_EXPIRY_S
    properties.ReceiveMaximum = _MOST_UNACKNOWLEDGED
    return properties
