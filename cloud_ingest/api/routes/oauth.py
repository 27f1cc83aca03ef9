"""Access tokens by client credentials: RFC 6749, sections 2.3.1, 4.4 and 5."""

from __future__ import annotations

import base64
import binascii
from typing import Any, Literal
from urllib.parse import parse_qsl, unquote_plus

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field
from starlette.responses import Response

from cloud_ingest.api.body import read_raw_body
from cloud_ingest.api.dependencies import AuthorizerDep, client_address
from cloud_ingest.api.responses import json_response
from cloud_ingest.errors import OAuthRefused

MAX_FORM_BYTES = 16 * 2**10
TOKEN_PATH = "/oauth/token"
_NOT_CACHED = {"Cache-Control": "no-store", "Pragma": "no-cache"}
_FORM = {
    "type": "object",
    "required": ["grant_type"],
    "properties": {
        "grant_type": {"type": "string", "enum": ["client_credentials"]},
        "client_id": {"type": "string", "description": "If HTTP Basic is not used"},
        "client_secret": {"type": "string"},
        "scope": {
            "type": "string",
            "description": "Separated by spaces; default: every scope of the client",
        },
    },
}

router = APIRouter(tags=["authentication"])


class TokenIssued(BaseModel):
    """An access token for the Authorization header."""

    access_token: str
    token_type: Literal["Bearer"]
    expires_in: int = Field(description="Seconds")
    scope: str = Field(examples=["errors:write readings:write"])


class TokenRefused(BaseModel):
    """The error of RFC 6749, section 5.2."""

    error: str = Field(examples=["invalid_client"])
    error_description: str


@router.post(
    TOKEN_PATH,
    summary="Request an access token with client credentials",
    responses={
        200: {"model": TokenIssued},
        400: {"model": TokenRefused, "description": "Not a valid request by RFC 6749"},
        401: {"model": TokenRefused, "description": "Unknown client or wrong secret"},
        429: {"description": "Too many attempts; retry after `Retry-After`"},
    },
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {"application/x-www-form-urlencoded": {"schema": _FORM}},
        }
    },
)
async def post_token(request: Request, authorizer: AuthorizerDep) -> Response:
    """Issue a short-lived token to a registered gateway.

    Send the credentials from `kidjamo-ingest gateway add` by HTTP Basic or in the form.
    """
    assert authorizer is not None  # the application adds this route only where authentication is on
    headers = request.headers
    if headers.get("content-type", "").partition(";")[0].strip() != "application/x-www-form-urlencoded":
        raise OAuthRefused("invalid_request", "the body must be application/x-www-form-urlencoded")
    form = _form(await read_raw_body(request, MAX_FORM_BYTES))
    gateway_id, secret = _credentials(headers.get("authorization"), form)
    if form.get("grant_type") != "client_credentials":
        code = "unsupported_grant_type" if form.get("grant_type") else "invalid_request"
        raise OAuthRefused(code, "grant_type must be client_credentials")
    granted = authorizer.grant(gateway_id, secret, form.get("scope"), client_address(request))
    document: dict[str, Any] = {
        "access_token": granted.token,
        "token_type": "Bearer",
        "expires_in": granted.expires_in,
        "scope": " ".join(sorted(granted.scopes)),
    }
    return json_response(document, headers=_NOT_CACHED)


def error_response(error: OAuthRefused) -> Response:
    """Return the response to a request that is not granted."""
    challenge = {"WWW-Authenticate": 'Basic realm="kidjamo"'} if error.status == 401 else {}
    document = {"error": error.code, "error_description": str(error)}
    return json_response(document, error.status, _NOT_CACHED | challenge)


def _form(body: bytes) -> dict[str, str]:
    try:
        pairs = parse_qsl(body.decode(), keep_blank_values=True, strict_parsing=bool(body), max_num_fields=20)
    except ValueError:
        raise OAuthRefused("invalid_request", "the body is not a form") from None
    form = dict(pairs)
    if len(form) < len(pairs):
        raise OAuthRefused("invalid_request", "a parameter is given twice")
    return form


def _credentials(authorization: str | None, form: dict[str, str]) -> tuple[str, str]:
    if authorization is None:
        if not form.get("client_id") or not form.get("client_secret"):
            raise OAuthRefused("invalid_client", "client_id and client_secret are required")
        return form["client_id"], form["client_secret"]
    if "client_secret" in form:
        raise OAuthRefused("invalid_request", "credentials both in the header and in the form")
    scheme, _, encoded = authorization.partition(" ")
    try:
        name, colon, secret = base64.b64decode(encoded.strip(), validate=True).decode().partition(":")
    except (binascii.Error, ValueError):
        name = colon = secret = ""
    if scheme.lower() != "basic" or not colon:
        raise OAuthRefused("invalid_client", "the Authorization header is not HTTP Basic")
    return unquote_plus(name), unquote_plus(secret)
