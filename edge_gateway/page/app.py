"""The page's routes: show, stream changes, log in, acknowledge, hand over, test the contacts."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import parse_qs

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from edge_gateway.alarms.monitor import AlarmMonitor, DutyShift
from edge_gateway.outbox.reading_queries import OutboxCounts
from edge_gateway.page import metrics, view
from edge_gateway.page.access import COOKIE, COOKIE_LIFETIME_S, Access
from edge_gateway.page.render import fragments, render
from edge_gateway.page.view import ShownAlarm
from edge_gateway.page.words import choose_language, words
from edge_gateway.state import GatewayState
from runtime.net import is_loopback
from vitals.absence import Language
from vitals.conditions import Condition

_POLL_S = 0.5
_MAX_EVENT_INTERVAL_S = 1.0
_MAX_NAME, _MAX_NOTE, _MAX_SILENCE_MIN = 60, 300, 60
_MAX_BODY = 4096
_LANGUAGE_COOKIE = "kidjamo_language"
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self';"
    " connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class PageAuditLog(Protocol):
    """Persistent log of what users did."""

    async def audit(self, who: str, action: str, detail: str) -> None:
        """Record one action."""


@dataclass(frozen=True, slots=True)
class Page:
    """The page and what its routes need.

    Attributes:
        outbox_counts: returns the counts of the outbox.
        self_test: sends each contact a test message; returns the error for each name, empty on success.
        stopping: set to end the event streams.
    """

    monitor: AlarmMonitor
    state: GatewayState
    audit_log: PageAuditLog
    outbox_counts: Callable[[], Awaitable[OutboxCounts]]
    access: Access
    language: Language
    self_test: Callable[[], Awaitable[Mapping[str, str]]]
    stopping: asyncio.Event

    def app(self) -> Starlette:
        """Return the ASGI application."""
        static = StaticFiles(directory=Path(__file__).parent / "static")
        return Starlette(
            routes=[
                Route("/", self._show),
                Route("/events", self._events),
                Route("/metrics", self._metrics),
                Route("/login", self._log_in, methods=["POST"]),
                Route("/logout", self._log_out, methods=["POST"]),
                Route("/acknowledge", self._acknowledge, methods=["POST"]),
                Route("/handover", self._hand_over, methods=["POST"]),
                Route("/self-test", self._test, methods=["POST"]),
                Mount("/static", static),
            ],
            middleware=[Middleware(_SecurityHeaders)],
        )

    async def _show(self, request: Request) -> Response:
        language = self._language(request)
        if self._user(request) is None:
            return _remember_language(request, HTMLResponse(render("login.html", language)))
        context = await self._context(language)
        page = render("children.html", language, open=self.access.open, **context)
        return _remember_language(request, HTMLResponse(page))

    async def _events(self, request: Request) -> Response:
        self._authorised(request)
        stream = self._stream(self._language(request))
        return StreamingResponse(stream, media_type="text/event-stream")

    async def _metrics(self, request: Request) -> Response:
        """Serve Prometheus metrics; other machines need a login."""
        if request.client is None or not is_loopback(request.client.host):
            self._authorised(request)
        counts = await self.outbox_counts()
        text = metrics.exposition(self.state, self.monitor, counts)
        return Response(text, media_type=metrics.CONTENT_TYPE)

    async def _stream(self, language: Language) -> AsyncIterator[str]:
        """Yield changes since the last event, at least once a second so that loss is detected."""
        shown: dict[str, str] = {}
        version, sent_at = -1, 0.0
        while not self.stopping.is_set():
            now = time.monotonic()
            if self.monitor.version != version or now - sent_at >= _MAX_EVENT_INTERVAL_S:
                version, sent_at = self.monitor.version, now
                context = await self._context(language)
                current = dict(fragments(language, context))
                changed = {name: html for name, html in current.items() if shown.get(name) != html}
                shown = current
                event = {"sound": context["sound"], "cards": len(context["cards"]), "parts": changed}
                yield f"data: {json.dumps(event | {'now': round(time.time() * 1000)})}\n\n"
            await asyncio.sleep(_POLL_S)

    async def _log_in(self, request: Request) -> Response:
        form = parse_qs((await _body(request)).decode("utf-8", "replace"))
        name, pin = (form.get(field, [""])[0].strip() for field in ("name", "pin"))
        if name and self.access.check_pin(pin):
            await self.audit_log.audit(name[:_MAX_NAME], "log in", "")
            response = RedirectResponse("/", status_code=303)
            secure = request.url.scheme == "https"
            response.set_cookie(
                COOKIE,
                self.access.cookie(name[:_MAX_NAME]),
                max_age=COOKIE_LIFETIME_S,
                httponly=True,
                samesite="strict",
                secure=secure,
            )
            return response
        language = self._language(request)
        problem = "too_many" if self.access.blocked else "wrong_pin"
        text = render("login.html", language, problem=words(language)[problem])
        return HTMLResponse(text, status_code=429 if self.access.blocked else 403)

    async def _log_out(self, request: Request) -> Response:
        self._authorised(request)
        response = RedirectResponse("/", status_code=303)
        response.delete_cookie(COOKIE)
        return response

    async def _acknowledge(self, request: Request) -> Response:
        user, action = await self._action(request)
        if condition := action.get("condition"):
            if not self.monitor.acknowledge_condition(str(condition), user):
                raise HTTPException(404, "no such condition is active")
            await self.audit_log.audit(user, "acknowledge", str(condition))
            return JSONResponse({})
        minutes, patient_id = action.get("minutes"), str(action.get("patient_id"))
        if minutes is not None and (isinstance(minutes, bool) or not isinstance(minutes, (int, float))):
            raise HTTPException(422, "minutes must be a number")
        silence = None if minutes is None else timedelta(minutes=max(0, min(minutes, _MAX_SILENCE_MIN)))
        try:
            groups = self.monitor.acknowledge(
                patient_id, user, view.parse_group(action.get("group")), silence
            )
        except KeyError:
            raise HTTPException(404, "no such child") from None
        except ValueError:
            raise HTTPException(422, "no such group of alarms") from None
        for group in groups:
            await self.audit_log.audit(user, "acknowledge", f"{group.value}:{patient_id}")
        return JSONResponse({"acknowledged": [group.value for group in groups]})

    async def _hand_over(self, request: Request) -> Response:
        user, action = await self._action(request)
        self.monitor.take_over(user, str(action.get("note") or "")[:_MAX_NOTE])
        await self.audit_log.audit(user, "take over", "")
        return JSONResponse({})

    async def _test(self, request: Request) -> Response:
        user, _ = await self._action(request)
        await self.audit_log.audit(user, "self-test", "")
        w = words(self._language(request))
        results = await self.self_test()
        lines = [f"{name}: {error or w['self_test_ok']}" for name, error in results.items()]
        return JSONResponse({"lines": lines or [w["self_test_none"]]})

    async def _action(self, request: Request) -> tuple[str, dict[str, Any]]:
        """Return the user and the JSON body. Requiring this content type stops forms of other sites."""
        user = self._authorised(request)
        if request.headers.get("content-type") != "application/json":
            raise HTTPException(415, "the content type must be application/json")
        try:
            action = json.loads(await _body(request))
        except ValueError:
            raise HTTPException(422, "the body must be JSON") from None
        if not isinstance(action, dict):
            raise HTTPException(422, "the body must be a JSON object")
        return user, action

    def _user(self, request: Request) -> str | None:
        return "local" if self.access.open else self.access.user_of(request.cookies.get(COOKIE))

    def _authorised(self, request: Request) -> str:
        if (user := self._user(request)) is None:
            raise HTTPException(401, "log in first")
        return user

    def _language(self, request: Request) -> Language:
        chosen = request.query_params.get("lang") or request.cookies.get(_LANGUAGE_COOKIE)
        return choose_language(chosen, self.language)

    async def _context(self, language: Language) -> dict[str, Any]:
        now, monitor = datetime.now(UTC), self.monitor
        conditions = [(each, self._condition(each, language, now)) for each in monitor.active_conditions]
        cards = [
            view.card(
                child,
                [link for device, link in self.state.links.items() if device in child.devices],
                conditions,
                language,
                now,
            )
            for child in monitor.children.values()
        ]
        of_gateway = [shown for each, shown in conditions if each.subject not in monitor.children]
        down = self.state.undelivered_since
        return {
            "cards": cards,
            "conditions": of_gateway,
            "gateway_id": monitor.gateway_id,
            "pending": (await self.outbox_counts()).pending,
            "down_since_ms": round(down.timestamp() * 1000) if down else 0,
            "duty": _duty(monitor.duty),
            "sound": urgency.name if (urgency := monitor.urgency()) else "",
        }

    def _condition(self, condition: Condition, language: Language, now: datetime) -> ShownAlarm:
        standing = self.monitor.conditions.standing.get(condition.key)
        silence = self.monitor.conditions.silence(condition, now)
        return ShownAlarm(
            key=condition.key,
            group="",
            text=condition.text(language),
            phase="",
            priority=condition.priority.name,
            since_ms=round((standing.since if standing else now).timestamp() * 1000),
            minutes=(),
            silent_by=silence[0] if silence else "",
            silent_until_ms=round(silence[1].timestamp() * 1000) if silence else 0,
        )


class _SecurityHeaders:
    """Adds security headers to every response."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] += [
                    (name.lower().encode(), text.encode()) for name, text in _HEADERS.items()
                ]
            await send(message)

        await self._app(scope, receive, with_headers)


def _duty(duty: DutyShift | None) -> dict[str, Any] | None:
    if duty is None:
        return None
    return {"name": duty.name, "note": duty.note, "since_ms": round(duty.since.timestamp() * 1000)}


def _remember_language(request: Request, response: Response) -> Response:
    """Store the language chosen in the request, if any, in a cookie."""
    if chosen := request.query_params.get("lang"):
        response.set_cookie(
            _LANGUAGE_COOKIE, choose_language(chosen, "fr"), max_age=COOKIE_LIFETIME_S, samesite="lax"
        )
    return response


async def _body(request: Request) -> bytes:
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > _MAX_BODY:
            raise HTTPException(413, "the body is too long")
    return body
