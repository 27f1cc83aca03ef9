"""ASGI middleware: a limit on concurrent requests, and refusal of web pages where authentication is off."""

from __future__ import annotations

from collections.abc import Iterable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cloud_ingest.api.responses import refusal
from runtime.net import is_loopback_url

MOST = 512
"""Requests under way; `/health` does not count, for it must answer when all else is busy."""
RETRY_AFTER_S = 5
_OURS = "cloud_ingest.errors."
_REASON = "without authentication the API answers this machine only"


class Entrance:
    """ASGI middleware."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._under_way = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let one in, or send it away."""
        if scope["type"] != "http":
            await self._app(scope, receive, _in_one_line(send))
            return
        if scope["method"] == "HEAD":  # uvicorn sends no body where its own scope says HEAD
            scope = {**scope, "method": "GET"}
        if scope["path"] == "/health":
            await self._app(scope, receive, send)
        elif self._under_way >= MOST:
            busy = refusal(503, "busy", "too many requests at once", {"Retry-After": str(RETRY_AFTER_S)})
            await busy(scope, receive, send)
        else:
            self._under_way += 1
            try:
                await self._app(scope, receive, send)
            finally:
                self._under_way -= 1


def _in_one_line(send: Send) -> Send:
    """Why the application did not start, without the traceback where the reason is one of ours."""

    async def say(message: Message) -> None:
        reason = message.get("message", "").strip().rpartition("\n")[2]
        if message["type"] == "lifespan.startup.failed" and reason.startswith(_OURS):
            message = {**message, "message": reason.partition(": ")[2]}
        await send(message)

    return say


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
        if name in prefixes and not is_loopback_url(prefixes[name] + value.decode("latin-1")):
            return name.decode()
    return ""
