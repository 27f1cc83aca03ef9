"""One connection to the API: it has to say what it wants in time, or makes room for others."""

from __future__ import annotations

import asyncio

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEAD_WITHIN_S = 10.0
"""From the first byte of a request, or from connecting, to the end of its headers."""
MOST_HEAD_BYTES = 64 * 1024
"""Of headers; a token takes one kilobyte."""


class Connection(HttpToolsProtocol):
    """uvicorn's, which waits for the headers of a request for as long as the other side likes."""

    _overdue: asyncio.TimerHandle | None = None
    _head_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait."""
        super().connection_made(transport)
        self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no longer."""
        self._head_is_here()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take bytes, of headers not without end."""
        if self._overdue:
            if self._head_bytes > MOST_HEAD_BYTES:
                self.transport.close()
                return
            self._head_bytes += len(data)
        super().data_received(data)

    def on_message_begin(self) -> None:
        """Begin to wait for the rest of the headers."""
        super().on_message_begin()
        self._head_is_here()
        self._expect_head()

    def on_headers_complete(self) -> None:
        """Wait no longer."""
        self._head_is_here()
        super().on_headers_complete()

    def _expect_head(self) -> None:
        self._head_bytes = 0
        self._overdue = self.loop.call_later(HEAD_WITHIN_S, self.transport.close)

    def _head_is_here(self) -> None:
        if self._overdue:
            self._overdue.cancel()
            self._overdue = None
