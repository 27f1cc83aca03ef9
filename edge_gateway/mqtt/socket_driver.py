"""Runs paho's network loop from the event loop: no thread of its own, no lock."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from paho.mqtt.enums import MQTTErrorCode

from edge_gateway.mqtt.read_ahead import ReadAheadClient

_PACKETS_PER_TURN = 64
"""Packets read before other tasks get a turn."""


class SocketDriver:
    """Reads and writes the socket of one paho client when the event loop says so.

    Args:
        may_read: returns False to leave further packets in the socket until `resume`.
    """

    def __init__(self, client: ReadAheadClient, may_read: Callable[[], bool]) -> None:
        self._client, self._may_read = client, may_read
        self._loop: asyncio.AbstractEventLoop | None = None
        self._next_turn: asyncio.Handle | None = None
        client.on_socket_close = lambda _client, _data, sock: self._unwatch(sock)
        client.on_socket_register_write = lambda _client, _data, sock: self._watch_write(sock)
        client.on_socket_unregister_write = lambda _client, _data, sock: self._unwatch_write(sock)

    def start(self) -> bool:
        """Watch the socket of a client that has just connected. Return False if it is closed already."""
        sock = self._client.socket()
        if sock is None:
            return False
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(sock, self._read)
        if self._client.want_write():
            self._loop.add_writer(sock, self._client.loop_write)
        return True

    def resume(self) -> None:
        """Read again after `may_read` has returned False."""
        sock = self._client.socket()
        if sock and self._loop:
            self._loop.add_reader(sock, self._read)
            self._loop.call_soon(self._read)

    async def flush(self) -> None:
        """Write what is queued, for 0.2 s at most."""
        for _ in range(20):
            if not self._client.want_write():
                break
            self._client.loop_write()
            await asyncio.sleep(0.01)

    def close(self) -> None:
        """Close the socket."""
        sock = self._client.socket()
        if sock is not None:
            self._unwatch(sock)
            with suppress(OSError), socket.socket(fileno=os.dup(sock.fileno())) as same:
                same.shutdown(socket.SHUT_RDWR)
            self._client.loop_read()  # makes paho notice and close

    def _read(self) -> None:
        client = self._client
        if self._next_turn:
            self._next_turn.cancel()  # this turn does its work
        for _ in range(_PACKETS_PER_TURN):
            sock = client.socket()
            if sock is None:
                return
            if not self._may_read():
                asyncio.get_running_loop().remove_reader(sock)
                return
            if client.loop_read() != MQTTErrorCode.MQTT_ERR_SUCCESS or not client.has_more():
                return
        self._next_turn = asyncio.get_running_loop().call_soon(self._read)

    def _in_loop(self) -> bool:
        """Return False in the thread that opens the socket, where nothing is watched yet."""
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
