"""Without authentication whoever is on this machine may ask; a web page that its browser shows is not."""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Receive, Scope, Send

from cloud_ingest.api.dependencies import refusal
from cloud_ingest.settings import is_loopback

_REASON = "without authentication the API answers this machine only"


class SameMachine:
    """ASGI middleware: refuses pages of other sites, and names of this machine that others gave it.

    A browser lets no page choose these headers: `Origin` says whose page asks, and `Host` holds the name of a
    site that has its own name point to 127.0.0.1.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request of this machine in, or refuse it."""
        field = _from_elsewhere(scope["headers"]) if scope["type"] == "http" else ""
        app = refusal(403, "forbidden", _REASON, field=field) if field else self._app
        await app(scope, receive, send)


def _from_elsewhere(headers: Iterable[tuple[bytes, bytes]]) -> str:
    """The header that names another machine; empty where none does."""
    prefixes = {b"host": "//", b"origin": ""}
    for name, value in headers:
        if name in prefixes and not _is_here(prefixes[name] + value.decode("latin-1")):
            return name.decode()
    return ""


def _is_here(url: str) -> bool:
    try:
        return is_loopback(urlsplit(url).hostname or "")
    except ValueError:
        return False
