"""paho's MQTT client with buffered reads: one system call for all data that has arrived.

paho reads three times per packet, which took a fifth of the gateway's time at high message rates. There is no
public hook for this. `_sock_recv` is private to paho, so the version is pinned below 3, and
`tests/edge_gateway/mqtt/test_read_ahead.py` fails if a version no longer has or calls it.
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
        """Return whether bytes were read that are not parsed yet; the socket may then stay silent."""
        sock = self.socket()
        return bool(self._ahead) or (isinstance(sock, ssl.SSLSocket) and sock.pending() > 0)

    def reconnect(self) -> MQTTErrorCode:
        """Connect, and discard bytes of the connection before."""
        self._ahead = memoryview(b"")
        return super().reconnect()

    def _sock_recv(self, bufsize: int) -> bytes:
        if not self._ahead:
            self._ahead = memoryview(super()._sock_recv(_READ_AHEAD))
        chunk, self._ahead = self._ahead[:bufsize], self._ahead[bufsize:]
        return bytes(chunk)
