"""The page's routes: look, be told, acknowledge."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import parse_qs

from jinja2 import Environment, PackageLoader
from markupsafe import Markup
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from edge_gateway.alarms.monitor import Duty, Ward
from edge_gateway.outbox.reading_queries import OutboxCounts
from edge_gateway.page import metrics, view
from edge_gateway.page.access import COOKIE, LASTS_S, Access
from edge_gateway.page.view import Card, ShownAlarm
from edge_gateway.page.words import spoken, words
from edge_gateway.state import GatewayState
from runtime.net import is_loopback
from vitals.absence import Language
from vitals.conditions import Condition

_LOOK_EVERY_S = 0.5
_AT_LEAST_EVERY_S = 1.0
_LONGEST_BODY = 4096
_LANGUAGE_COOKIE = "kidjamo_language"
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self';"
    " connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class Journal(Protocol):
    """Where it is kept who did what."""

    async def audit(self, who: str, action: str, detail: str) -> None:
        """Keep one action."""

    async def counts(self) -> OutboxCounts:
        """What the outbox has held."""


@dataclass(frozen=True, slots=True)
class Page:
    """What the routes work with.

    Attributes:
        self_test: proves the way to each contact; says what failed, by name, empty where nothing did.
        stopping: set when streams have to end.
    """

    ward: Ward
    state: GatewayState
    journal: Journal
    access: Access
    language: Language
    self_test: Callable[[], Awaitable[Mapping[str, str]]]
    stopping: asyncio.Event

    def app(self) -> Starlette:
        """The ASGI application."""
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
            middleware=[Middleware(_Headers)],
        )

    async def _show(self, request: Request) -> Response:
        language = self._language(request)
        if self._who(request) is None:
            return _remember(request, HTMLResponse(_render("login.html", language)))
        parts = await self._context(language)
        return _remember(
            request, HTMLResponse(_render("ward.html", language, open=self.access.open, **parts))
        )

    async def _events(self, request: Request) -> Response:
        self._authorised(request)
        stream = self._stream(self._language(request))
        return StreamingResponse(stream, media_type="text/event-stream")

    async def _metrics(self, request: Request) -> Response:
        """For Prometheus on this machine; from elsewhere, only with a login."""
        if request.client is None or not is_loopback(request.client.host):
            self._authorised(request)
        counts = await self.journal.counts()
        text = metrics.exposition(self.state, self.ward, counts)
        return Response(text, media_type=metrics.CONTENT_TYPE)

    async def _stream(self, language: Language) -> AsyncIterator[str]:
        """What has changed since the last event; at least one event a second, so that silence means lost."""
        shown: dict[str, str] = {}
        version, told = -1, 0.0
        while not self.stopping.is_set():
            now = time.monotonic()
            if self.ward.version != version or now - told >= _AT_LEAST_EVERY_S:
                version, told = self.ward.version, now
                context = await self._context(language)
                fresh = dict(_parts(language, context))
                changed = {name: html for name, html in fresh.items() if shown.get(name) != html}
                shown = fresh
                event = {"sound": context["sound"], "cards": len(context["cards"]), "parts": changed}
                yield f"data: {json.dumps(event | {'now': round(time.time() * 1000)})}\n\n"
            await asyncio.sleep(_LOOK_EVERY_S)

    async def _log_in(self, request: Request) -> Response:
        form = parse_qs((await _body(request)).decode("utf-8", "replace"))
        name, pin = (form.get(field, [""])[0].strip() for field in ("name", "pin"))
        if name and self.access.admits(pin):
            await self.journal.audit(name[:60], "log in", "")
            answer = RedirectResponse("/", status_code=303)
            secure = request.url.scheme == "https"
            answer.set_cookie(
                COOKIE,
                self.access.cookie(name[:60]),
                max_age=LASTS_S,
                httponly=True,
                samesite="strict",
                secure=secure,
            )
            return answer
        language = self._language(request)
        problem = "too_many" if self.access.blocked else "wrong_pin"
        text = _render("login.html", language, problem=words(language)[problem])
        return HTMLResponse(text, status_code=429 if self.access.blocked else 403)

    async def _log_out(self, request: Request) -> Response:
        self._authorised(request)
        answer = RedirectResponse("/", status_code=303)
        answer.delete_cookie(COOKIE)
        return answer

    async def _acknowledge(self, request: Request) -> Response:
        who, asked = await self._action(request)
        if condition := asked.get("condition"):
            if not self.ward.acknowledge_condition(str(condition), who):
                raise HTTPException(404, "no such condition stands")
            await self.journal.audit(who, "acknowledge", str(condition))
            return JSONResponse({})
        minutes, patient_id = asked.get("minutes"), str(asked.get("patient_id"))
        if minutes is not None and (isinstance(minutes, bool) or not isinstance(minutes, (int, float))):
            raise HTTPException(422, "minutes: must be a number")
        silence = None if minutes is None else timedelta(minutes=max(0, min(minutes, 60)))
        try:
            found = self.ward.acknowledge(patient_id, who, view.parse_group(asked.get("group")), silence)
        except KeyError:
            raise HTTPException(404, "no such child") from None
        except ValueError:
            raise HTTPException(422, "group: no such group of alarms") from None
        for group in found:
            await self.journal.audit(who, "acknowledge", f"{group.value}:{patient_id}")
        return JSONResponse({"acknowledged": [group.value for group in found]})

    async def _hand_over(self, request: Request) -> Response:
        who, asked = await self._action(request)
        self.ward.take_over(who, str(asked.get("note") or "")[:300])
        await self.journal.audit(who, "take over", "")
        return JSONResponse({})

    async def _test(self, request: Request) -> Response:
        who, _ = await self._action(request)
        await self.journal.audit(who, "self-test", "")
        w = words(self._language(request))
        results = await self.self_test()
        lines = [f"{name}: {failed or w['self_test_ok']}" for name, failed in results.items()]
        return JSONResponse({"lines": lines or [w["self_test_none"]]})

    async def _action(self, request: Request) -> tuple[str, dict[str, Any]]:
        """Who asks for what; only our own page can send JSON here."""
        who = self._authorised(request)
        if request.headers.get("content-type") != "application/json":
            raise HTTPException(415, "must be application/json")
        try:
            asked = json.loads(await _body(request))
        except ValueError:
            raise HTTPException(422, "not JSON") from None
        if not isinstance(asked, dict):
            raise HTTPException(422, "must be an object")
        return who, asked

    def _who(self, request: Request) -> str | None:
        return "local" if self.access.open else self.access.who(request.cookies.get(COOKIE))

    def _authorised(self, request: Request) -> str:
        if (who := self._who(request)) is None:
            raise HTTPException(401, "log in first")
        return who

    def _language(self, request: Request) -> Language:
        asked = request.query_params.get("lang") or request.cookies.get(_LANGUAGE_COOKIE)
        return spoken(asked, self.language)

    async def _context(self, language: Language) -> dict[str, Any]:
        now, ward = datetime.now(UTC), self.ward
        standing = [(each, self._condition(each, language, now)) for each in ward.standing]
        cards = [
            view.card(
                child,
                [link for device, link in self.state.links.items() if device in child.devices],
                standing,
                language,
                now,
            )
            for child in ward.children.values()
        ]
        of_gateway = [shown for each, shown in standing if each.subject not in ward.children]
        down = self.state.undelivered_since
        return {
            "cards": cards,
            "conditions": of_gateway,
            "gateway_id": ward.gateway_id,
            "pending": (await self.journal.counts()).pending,
            "down_since_ms": round(down.timestamp() * 1000) if down else 0,
            "duty": _duty(ward.duty),
            "sound": urgency.name if (urgency := ward.urgency()) else "",
        }

    def _condition(self, condition: Condition, language: Language, now: datetime) -> ShownAlarm:
        standing = self.ward.conditions.standing.get(condition.key)
        silence = self.ward.conditions.silence(condition, now)
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


class _Headers:
    """Adds the headers that keep a page to itself."""

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


def _parts(language: Language, context: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """The pieces of the page that change, by the id of their element."""
    yield "gateway", _render("gateway.html", language, **context)
    cards: list[Card] = context["cards"]
    for index, card in enumerate(cards):
        for name in ("values", "alarms", "trend"):
            yield f"{name}-{index}", _render(f"{name}.html", language, card=card, index=index)


def _duty(duty: Duty | None) -> dict[str, Any] | None:
    if duty is None:
        return None
    return {"name": duty.name, "note": duty.note, "since_ms": round(duty.since.timestamp() * 1000)}


def _silence(w: Mapping[str, str], alarm: ShownAlarm) -> Markup:
    clock = Markup('<time data-clock="{}"></time>').format(alarm.silent_until_ms)
    return Markup.escape(w["silent_until"]).format(time=clock, who=alarm.silent_by)


def _remember(request: Request, answer: Response) -> Response:
    """Keep the language somebody chose."""
    if asked := request.query_params.get("lang"):
        answer.set_cookie(_LANGUAGE_COOKIE, spoken(asked, "fr"), max_age=LASTS_S, samesite="lax")
    return answer


async def _body(request: Request) -> bytes:
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > _LONGEST_BODY:
            raise HTTPException(413, "too long")
    return body


_TEMPLATES = Environment(loader=PackageLoader("edge_gateway.page"), autoescape=True, trim_blocks=True)
_TEMPLATES.globals["silence"] = _silence


def _render(name: str, language: Language, **context: Any) -> str:
    other = "en" if language == "fr" else "fr"
    return _TEMPLATES.get_template(name).render(w=words(language), language=language, other=other, **context)
