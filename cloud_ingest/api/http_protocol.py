"""uvicorn's HTTP protocol with a time limit and a size limit on the headers of a request.

The methods and attributes of `HttpToolsProtocol` used here are not documented by uvicorn;
`tests/cloud_ingest/api/test_http_protocol.py` fails where a version lacks one.
"""

from __future__ import annotations

import asyncio

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEADERS_TIMEOUT_S = 10.0
"""From connecting, or from the first byte of a later request, to the end of the headers."""
MAX_HEADER_BYTES = 64 * 1024
"""An access token takes about 1 KiB of them."""


class BoundedHttpProtocol(HttpToolsProtocol):
    """A connection that is closed when the headers of a request are late or too large.

    uvicorn alone waits for them without limit.
    """

    _headers_timer: asyncio.TimerHandle | None = None
    _header_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the timer for the first request."""
        super().connection_made(transport)
        self._start_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the timer."""
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse bytes; close the connection where the headers are too large."""
        if self._headers_timer:
            if self._header_bytes > MAX_HEADER_BYTES:
                self.transport.close()
                return
            self._header_bytes += len(data)
        super().data_received(data)

    def on_message_begin(self) -> None:
        """Start the timer for this request."""
        super().on_message_begin()
        self._stop_timer()
        self._start_timer()

    def on_headers_complete(self) -> None:
        """Stop the timer."""
        self._stop_timer()
        super().on_headers_complete()

    def _start_timer(self) -> None:
        self._header_bytes = 0
        self._headers_timer = self.loop.call_later(HEADERS_TIMEOUT_S, self.transport.close)

    def _stop_timer(self) -> None:
        if self._headers_timer:
            self._headers_timer.cancel()
            self._headers_timer = None
