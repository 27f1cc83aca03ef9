"""ASGI middleware: a limit on concurrent requests, local requests only, and readable start-up errors."""

from __future__ import annotations

from collections.abc import Iterable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cloud_ingest.api.responses import refusal
from runtime.net import is_loopback_url
from vitals.errors import KidjamoError

MAX_CONCURRENT = 512
"""Requests handled at the same time, without `/health`, which must answer under load."""
RETRY_AFTER_S = 5
_LOCAL_ONLY = "without authentication the API answers this machine only"


class ConcurrencyLimit:
    """Middleware that answers 503 to requests beyond `MAX_CONCURRENT`."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._running = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle or refuse a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        # uvicorn has the original scope, and drops the body of the response to HEAD.
        if scope["method"] == "HEAD":
            scope = {**scope, "method": "GET"}
        if scope["path"] == "/health":
            await self._app(scope, receive, send)
        elif self._running >= MAX_CONCURRENT:
            busy = refusal(503, "busy", "too many requests at once", {"Retry-After": str(RETRY_AFTER_S)})
            await busy(scope, receive, send)
        else:
            self._running += 1
            try:
                await self._app(scope, receive, send)
            finally:
                self._running -= 1


class LocalRequestsOnly:
    """Middleware that refuses requests of web pages of other sites, for use without authentication.

    A page cannot choose these headers of its requests: `Origin` names the site of the page. `Host` holds the
    name of a site whose DNS entry points to 127.0.0.1 (DNS rebinding).
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request of this machine; answer 403 to any other."""
        field = _foreign_header(scope["headers"]) if scope["type"] == "http" else ""
        app = refusal(403, "forbidden", _LOCAL_ONLY, field=field) if field else self._app
        await app(scope, receive, send)


class StartupErrors:
    """Middleware that reports a failed start in one line.

    Starlette sends the server a traceback. That of a `KidjamoError` is replaced by its message; the traceback
    of any other error is kept.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Delay the report of a failure until its exception is known."""
        if scope["type"] != "lifespan":
            await self._app(scope, receive, send)
            return
        failure: Message | None = None

        async def delay_failure(message: Message) -> None:
            nonlocal failure
            if message["type"] == "lifespan.startup.failed":
                failure = message
            else:
                await send(message)

        try:
            await self._app(scope, receive, delay_failure)
        except KidjamoError as error:
            failure = failure and {**failure, "message": str(error)}
            raise
        finally:
            if failure:
                await send(failure)


def _foreign_header(headers: Iterable[tuple[bytes, bytes]]) -> str:
    """Return the name of the first header that names another machine; empty where none does."""
    prefixes = {b"host": "//", b"origin": ""}
    for name, value in headers:
        if name in prefixes and not is_loopback_url(prefixes[name] + value.decode("latin-1")):
            return name.decode()
    return ""
