"""Responses to exceptions that routes raise; all have the form of `refusal`, those of OAuth excepted."""

from __future__ import annotations

import logging

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from cloud_ingest.api.middleware import RETRY_AFTER_S
from cloud_ingest.api.responses import refusal
from cloud_ingest.api.routes import oauth
from cloud_ingest.errors import ApiError, DatabaseUnavailable, NotDurable, OAuthRefused
from vitals.reading import error_text

log = logging.getLogger(__name__)

_CODES = {403: "forbidden", 404: "not_found", 405: "method_not_allowed", 408: "timeout"}


def add_error_handlers(app: FastAPI) -> None:
    """Register a handler for every exception that a request can end with."""

    @app.exception_handler(ApiError)
    async def request_refused(_request: Request, error: ApiError) -> Response:
        return refusal(error.status, error.code, str(error), dict(error.headers), error.field)

    @app.exception_handler(OAuthRefused)
    async def oauth_refused(_request: Request, error: OAuthRefused) -> Response:
        return oauth.error_response(error)

    @app.exception_handler(NotDurable)
    async def not_durable(_request: Request, error: NotDurable) -> Response:
        log.error("503: %s", error)
        return _unavailable("not_durable", error)

    @app.exception_handler(DatabaseUnavailable)
    async def database_unavailable(_request: Request, error: DatabaseUnavailable) -> Response:
        log.warning("503: %s", error)
        return _unavailable("database_away", error)

    @app.exception_handler(RequestValidationError)
    async def invalid_parameter(_request: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        return refusal(422, "invalid", error_text(first["type"], first["msg"]), field=str(first["loc"][-1]))

    @app.exception_handler(HTTPException)
    async def http_exception(_request: Request, error: HTTPException) -> Response:
        code = _CODES.get(error.status_code, "refused")
        return refusal(error.status_code, code, str(error.detail), dict(error.headers or {}))

    @app.exception_handler(ClientDisconnect)
    async def client_disconnect(_request: Request, _error: ClientDisconnect) -> Response:
        return refusal(400, "disconnected", "the client disconnected before the body was complete")

    @app.exception_handler(Exception)
    async def internal_error(_request: Request, _error: Exception) -> Response:
        return refusal(500, "internal", "internal error; keep the reading and send it again")


def _unavailable(code: str, error: Exception) -> Response:
    return refusal(503, code, str(error), {"Retry-After": str(RETRY_AFTER_S)})
