"""One MQTT connection for all who need it, driven by the event loop: no thread of its own, no lock.

MQTT 5 is spoken where the broker can, else 3.1.1: with 5 we set how many messages may be unacknowledged; with
3.1.1, mosquitto has 20 under way at most, and no more can share one flush of the disk.

The session is persistent (fixed client id, QoS 1): what the broker holds for us survives our absence, and a
message is acknowledged (PUBACK) only when its receiver says so. An acknowledgement belongs to the connection
its message came in on; after a reconnect the broker sends the message again, and that copy is acknowledged.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import socket
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
from edge_gateway.mqtt.read_ahead import ReadAheadClient
from vitals.backoff import Backoff

log = logging.getLogger(__name__)

BACKOFF_CAP_S = 30.0
_CONNECT_S = 5.0
_CONNACK_S = 4.0
_PUBACK_S = 10.0
_STABLE_S = 10.0
_SESSION_KEPT_S = 0xFFFFFFFF
"""The broker keeps the session for good."""
_MOST_HELD = 0xFFFF
"""Messages the broker may send before the first is acknowledged, the most that MQTT can say: while the disk
fails, readings are still judged. Some brokers (mosquitto 2.0) send more: then we stop reading."""
_PACKETS_A_TURN = 64
"""Packets read before other tasks get a turn."""


@dataclass(frozen=True, slots=True)
class PendingMessage:
    """A message from the broker.

    Attributes:
        acknowledge: sends the PUBACK; does nothing once the connection it came in on is gone.
    """

    topic: str
    payload: bytes
    acknowledge: Callable[[], None]


class MqttSession:
    """Keeps one connection up, subscribes on each, passes messages to a receiver.

    Args:
        will: topic and payload the broker publishes, retained, when we vanish.

    Attributes:
        receiver: called for each message of a subscription.
        subscriptions: topic filters.
        on_state: told the connection's state in words whenever it changes.
    """

    def __init__(
        self,
        config: MqttConfig,
        client_id: str,
        will: tuple[str, bytes],
        on_state: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._config, self._on_state, self.will = config, on_state, will
        self.receiver: Callable[[PendingMessage], None] = lambda delivery: delivery.acknowledge()
        self.subscriptions: list[str] = []
        self._connection = 0
        self._connected = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._read_on: asyncio.Handle | None = None
        self._held = 0
        self._outcome: asyncio.Future[str] | None = None
        self._lost = asyncio.Event()
        self._published: dict[int, asyncio.Future[None]] = {}
        self._client_id = client_id
        self._protocol = MQTTProtocolVersion.MQTTv5
        self._client = self._new_client()

    @property
    def connected(self) -> bool:
        """Whether the broker is there now."""
        return self._connected

    async def run(self) -> None:
        """Keep the connection up until cancelled, then leave in good order."""
        self._loop = asyncio.get_running_loop()
        backoff = Backoff(0.5, BACKOFF_CAP_S, random.random)
        try:
            while True:
                began = time.monotonic()
                reason = await self._connect_once()
                if not reason:
                    self._say("connected", logging.INFO)
                    began = time.monotonic()
                    await self._stay()
                    reason = "connection lost"
                if time.monotonic() - began > _STABLE_S:
                    backoff.reset()
                first = backoff.failures == 0
                wait = backoff.after_failure()
                self._say(f"away: {reason}", logging.WARNING if first else logging.DEBUG)
                await asyncio.sleep(wait)
        finally:
            await self._leave()

    @property
    def _v5(self) -> bool:
        return self._protocol is MQTTProtocolVersion.MQTTv5

    async def publish(self, topic: str, payload: bytes, *, qos: int = 1, retain: bool = False) -> bool:
        """Publish, and wait until the broker has it; False where it is away or goes away meanwhile."""
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

    def _new_client(self) -> ReadAheadClient:
        client = ReadAheadClient(
            CallbackAPIVersion.VERSION2,
            self._client_id,
            clean_session=None if self._v5 else False,
            protocol=self._protocol,
            manual_ack=True,
            reconnect_on_failure=False,
        )
        client.connect_timeout = _CONNECT_S
        client.suppress_exceptions = True
        client.enable_logger(log.getChild("paho"))
        log.getChild("paho").setLevel(logging.WARNING)
        client.will_set(*self.will, qos=1, retain=True)
        client.on_connect = self._on_connect
        client.on_disconnect = lambda *_: self._on_gone()
        client.on_message = self._on_message
        client.on_publish = lambda _client, _data, mid, *_: self._on_published(mid)
        client.on_socket_close = lambda _client, _data, sock: self._unwatch(sock)
        client.on_socket_register_write = lambda _client, _data, sock: self._watch_write(sock)
        client.on_socket_unregister_write = lambda _client, _data, sock: self._unwatch_write(sock)
        return client

    async def _connect_once(self) -> str:
        """Try once; the reason why it failed, empty when connected."""
        loop = asyncio.get_running_loop()
        self._lost.clear()
        self._connection += 1
        self._outcome = loop.create_future()
        try:
            self._prepare()
            await self._open_socket()
        except (OSError, ValueError, UnicodeError) as error:
            return str(error) or type(error).__name__
        sock = self._client.socket()
        if sock is None:
            return "closed at once"
        loop.add_reader(sock, self._read)
        if self._client.want_write():
            loop.add_writer(sock, self._client.loop_write)
        try:
            async with asyncio.timeout(_CONNACK_S):
                if refused := await self._outcome:
                    return refused
        except TimeoutError:
            return "the broker does not answer"
        finally:
            if not self._connected:
                self._close_socket()
                self._speak_otherwise()
        for topic in self.subscriptions:
            self._client.subscribe(topic, qos=1)
        return ""

    def _prepare(self) -> None:
        """Credentials are read anew each time, so that they can be replaced while the gateway runs."""
        config = self._config
        if config.username:
            password = config.password_file.read_text().strip() if config.password_file else None
            self._client.username_pw_set(config.username, password)
        if config.ca_file and self._client._ssl_context is None:
            self._client.tls_set_context(ssl.create_default_context(cafile=str(config.ca_file)))

    async def _open_socket(self) -> None:
        """Name look-up, TCP and TLS block, so they happen in a thread; the socket is ours afterwards."""
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

    def _speak_otherwise(self) -> None:
        """A broker that answers with a refusal, or not at all, may not know this version of MQTT."""
        self._protocol = MQTTProtocolVersion.MQTTv311 if self._v5 else MQTTProtocolVersion.MQTTv5
        self._client = self._new_client()

    async def _stay(self) -> None:
        """Keep alive until the connection is lost."""
        while not self._lost.is_set():
            self._client.loop_misc()
            with suppress(TimeoutError):
                async with asyncio.timeout(1.0):
                    await self._lost.wait()

    async def _leave(self) -> None:
        """Send what is queued and a DISCONNECT, so that the broker does not publish the will."""
        if self._connected:
            self._client.disconnect()
            for _ in range(20):
                if not self._client.want_write():
                    break
                self._client.loop_write()
                await asyncio.sleep(0.01)
        self._close_socket()
        self._say("stopped", logging.INFO)

    def _close_socket(self) -> None:
        sock = self._client.socket()
        if sock is not None:
            self._unwatch(sock)
            with suppress(OSError), socket.socket(fileno=os.dup(sock.fileno())) as same:
                same.shutdown(socket.SHUT_RDWR)
            self._client.loop_read()  # lets paho notice and close
        self._on_gone()

    def _on_connect(self, _client: paho.Client, _data: Any, _flags: Any, code: Any, _properties: Any) -> None:
        self._connected = not code.is_failure
        if self._outcome and not self._outcome.done():
            self._outcome.set_result(f"refused: {code}" if code.is_failure else "")

    def _on_gone(self) -> None:
        self._connected = False
        self._lost.set()
        if self._outcome and not self._outcome.done():
            self._outcome.set_result("the broker closed the connection")
        for waiting in self._published.values():
            if not waiting.done():
                waiting.set_exception(ConnectionError("the broker went away"))

    def _on_message(self, client: paho.Client, _data: Any, message: paho.MQTTMessage) -> None:
        connection, mid, qos = self._connection, message.mid, message.qos
        self._held += 1

        def acknowledge() -> None:
            self._let_go()
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
            log.exception("a message was not understood")  # not acknowledged: the broker keeps it
            self._let_go()

    def _let_go(self) -> None:
        """One message less is held; the first after a pause lets reading go on."""
        self._held -= 1
        sock = self._client.socket()
        if self._held == _MOST_HELD - 1 and sock and self._loop:
            self._loop.add_reader(sock, self._read)
            self._loop.call_soon(self._read)

    def _on_published(self, mid: int) -> None:
        waiting = self._published.get(mid)
        if waiting and not waiting.done():
            waiting.set_result(None)

    def _read(self) -> None:
        client = self._client
        if self._read_on:
            self._read_on.cancel()  # what it was to do is done here
        for _ in range(_PACKETS_A_TURN):
            sock = client.socket()
            if sock is None:
                return
            if self._held >= _MOST_HELD:
                asyncio.get_running_loop().remove_reader(sock)
                return
            if client.loop_read() != MQTTErrorCode.MQTT_ERR_SUCCESS or not client.has_more():
                return
        self._read_on = asyncio.get_running_loop().call_soon(self._read)

    def _in_loop(self) -> bool:
        """False in the thread that opens the socket: there, nothing is watched yet."""
        try:
            return asyncio.get_running_loop() is self._loop
        except RuntimeError:
            return False

    def _watch_write(self, sock: Any) -> None:
        if self._loop and self._in_loop():
            self._loop.add_writer(sock, self._client.loop_write)

    def _unwatch_write(self, sock: Any) -> None:
        if self._loop and self._in_loop():
            self._loop.remove_writer(sock)

    def _unwatch(self, sock: Any) -> None:
        if self._loop and self._in_loop():
            self._loop.remove_reader(sock)
            self._loop.remove_writer(sock)

    def _say(self, state: str, level: int) -> None:
        log.log(level, "MQTT %s:%d: %s", self._config.host, self._config.port, state)
        self._on_state(state)


def _connect_properties() -> Properties:
    properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
    properties.SessionExpiryInterval = _SESSION_KEPT_S
    properties.ReceiveMaximum = _MOST_HELD
    return properties
