"""What every route needs: the parts made at start, the door, the body, the answer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated, Any, TypeVar, cast

from fastapi import Depends, HTTPException, Request
from pydantic import BaseModel, ValidationError

from cloud_ingest.access.authorizer import Guard
from cloud_ingest.access.permissions import ANYONE, Caller, Scope
from cloud_ingest.alarms.queries import AlarmQueries
from cloud_ingest.api.body import MAX_BODY, MAX_DECOMPRESSED, check_count, decompress, read_bounded
from cloud_ingest.delivery.spool import Spool
from cloud_ingest.errors import MalformedBody
from cloud_ingest.ingest.service import Ingestion
from cloud_ingest.metrics.probes import Probe
from cloud_ingest.postgres.connection import DbExecutor
from cloud_ingest.settings import Settings
from vitals.errors import InvalidReading
from vitals.reading import invalid_reading, parse_json

Model = TypeVar("Model", bound=BaseModel)
BODY_TIMEOUT_S = 30.0
_RARELY_WITHIN_S = 8.0
_BIG = 64 * 1024


@dataclass(frozen=True, slots=True)
class Parts:
    """What the application made at start.

    Attributes:
        guard: None where authentication is off.
        database, recorder: None where no database is configured.
        started: when this process began, UTC.
        settings: for the rare request that needs a connection of its own.
        rarely: where such a request puts its question.
    """

    ingestion: Ingestion
    spool: Spool
    guard: Guard | None
    kafka: Probe
    database: Probe | None
    alarms: AlarmQueries
    recorder: Callable[[], dict[str, Any]] | None
    started: datetime
    settings: Settings
    rarely: DbExecutor = field(default_factory=lambda: DbExecutor("rare-questions", _RARELY_WITHIN_S))


def parts_of(request: Request) -> Parts:
    """The parts of the application that serves this request."""
    return cast(Parts, request.app.state.parts)


@dataclass(frozen=True, slots=True)
class Needs:
    """A dependency that lets only bearers of a token with this scope in."""

    scope: Scope

    async def __call__(self, request: Request) -> Caller:
        """Who calls."""
        guard = parts_of(request).guard
        if guard is None:
            return ANYONE
        return guard.admit(request.headers.get("authorization"), address_of(request), self.scope)


def address_of(request: Request) -> str:
    """Where a request comes from."""
    return request.client.host if request.client else "?"


async def _the_parts(request: Request) -> Parts:
    """A coroutine, although it waits for nothing: a plain function costs a trip to a thread."""
    return parts_of(request)


TheParts = Annotated[Parts, Depends(_the_parts)]


async def raw_body_of(request: Request, most: int) -> bytes:
    """The body as it came, of at most so many bytes, within bounds of time."""
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            return await read_bounded(request.stream(), request.headers.get("content-length"), most)
    except TimeoutError:
        raise HTTPException(408, f"the body did not arrive within {BODY_TIMEOUT_S:.0f} s") from None


async def body_of(request: Request, caller: Caller) -> bytes:
    """The decompressed body, within bounds of size and time, charged to the caller."""
    guard, encoding = parts_of(request).guard, request.headers.get("content-encoding")
    sent = await raw_body_of(request, MAX_BODY)
    size = MAX_DECOMPRESSED  # of a bomb; so much of it was decompressed
    try:
        if encoding and len(sent) > _BIG:
            body = await asyncio.to_thread(decompress, sent, encoding)
        else:
            body = decompress(sent, encoding)
        size = len(body)
    except MalformedBody as error:
        size = len(error.original)
        raise
    finally:
        if guard:
            guard.charge(caller, size)
    check_count(body)
    return body


async def document_of(request: Request, caller: Caller, model: type[Model]) -> Model:
    """The body as a document of some kind.

    Raises:
        MalformedBody: it is none, with the field and the reason.
    """
    body = await body_of(request, caller)
    try:
        return model.model_validate(parse_json(body))
    except InvalidReading as error:
        raise MalformedBody(error.reason, body, error.field) from None
    except ValidationError as error:
        found = invalid_reading(error)
        raise MalformedBody(found.reason, body, found.field) from None
