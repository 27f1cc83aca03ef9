"""What every route needs: the parts made at start, the door, the body, the answer."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from typing import Annotated, Any, cast

from fastapi import Depends, HTTPException, Request
from starlette.responses import Response

from cloud_ingest.auth import Tokens
from cloud_ingest.body import decompress, read_bounded
from cloud_ingest.ingestion import Answer, Ingestion
from cloud_ingest.probes import Probe
from cloud_ingest.settings import Settings
from cloud_ingest.spool import Spool

BODY_TIMEOUT_S = 30.0
_BIG = 64 * 1024


@dataclass(frozen=True, slots=True)
class Parts:
    """What the application made at start.

    Attributes:
        database: None where no database is configured.
        settings: for the rare request that needs a connection of its own.
    """

    ingestion: Ingestion
    spool: Spool
    tokens: Tokens
    kafka: Probe
    database: Probe | None
    settings: Settings


def parts_of(request: Request) -> Parts:
    """The parts of the application that serves this request."""
    return cast(Parts, request.app.state.parts)


def authenticated(request: Request) -> None:
    """Let only bearers of a token in."""
    if not parts_of(request).tokens.allow(request.headers.get("authorization")):
        raise HTTPException(
            401, "a bearer token of this service is needed", headers={"WWW-Authenticate": "Bearer"}
        )


TheParts = Annotated[Parts, Depends(parts_of)]


async def body_of(request: Request) -> bytes:
    """The decompressed body, within bounds of size and time."""
    headers = request.headers
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            body = await read_bounded(request.stream(), headers.get("content-length"))
    except TimeoutError:
        raise HTTPException(408, f"the body did not arrive within {BODY_TIMEOUT_S:.0f} s") from None
    encoding = headers.get("content-encoding")
    if encoding and len(body) > _BIG:
        return await asyncio.to_thread(decompress, body, encoding)
    return decompress(body, encoding)


def answer_of(answer: Answer) -> Response:
    """An answer as JSON."""
    return json_response(answer.document, answer.status)


def json_response(document: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """Compact JSON in UTF-8."""
    content = json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()
    return Response(content, status, headers, "application/json")


def refusal(
    status: int, code: str, reason: str, headers: dict[str, str] | None = None, field: str = ""
) -> Response:
    """The one form in which everything is refused."""
    return json_response({"error": code, "field": field, "reason": reason}, status, headers)
