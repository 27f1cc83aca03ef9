"""What every request passes first: a bound on how many are under way, HEAD wherever there is GET."""

from __future__ import annotations

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cloud_ingest.api.dependencies import refusal

MOST = 512
"""Requests under way; `/health` does not count, for it must answer when all else is busy."""
RETRY_AFTER_S = 5
_OURS = "cloud_ingest.errors."


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
