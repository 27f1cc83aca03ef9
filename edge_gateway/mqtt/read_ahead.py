"""paho's MQTT client, asking the kernel once for all that has arrived.

paho asks three times a packet, which was a fifth of the gateway's time in a flood. It has no public place for
this: `_sock_recv` is its own, so the version is pinned below 3 and tests/edge_gateway/mqtt/test_source.py
guards it.
"""

from __future__ import annotations

import ssl

import paho.mqtt.client as paho
from paho.mqtt.enums import MQTTErrorCode

_READ_AHEAD = 64 * 1024


class ReadAheadClient(paho.Client):
    """A client that may hold bytes it has read and not parsed yet."""

    _ahead = memoryview(b"")

    def has_more(self) -> bool:
        """Whether bytes were read that are not parsed yet; then the socket may stay silent."""
        sock = self.socket()
        return bool(self._ahead) or (isinstance(sock, ssl.SSLSocket) and sock.pending() > 0)

    def reconnect(self) -> MQTTErrorCode:
        """Connect; what is left of the connection before is forgotten."""
        self._ahead = memoryview(b"")
        return super().reconnect()

    def _sock_recv(self, bufsize: int) -> bytes:
        if not self._ahead:
            self._ahead = memoryview(super()._sock_recv(_READ_AHEAD))
        taken, self._ahead = self._ahead[:bufsize], self._ahead[bufsize:]
        return bytes(taken)
