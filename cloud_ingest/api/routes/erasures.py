"""Erasing a child: the request, and how far it has come."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from datetime import datetime
from typing import Annotated, Any, Literal, TypeVar
from uuid import UUID

import psycopg2
from fastapi import APIRouter, Depends, HTTPException, Path
from psycopg2.extensions import connection
from pydantic import BaseModel, Field
from starlette.responses import Response

from cloud_ingest.access.audit import Action
from cloud_ingest.access.permissions import Caller, Scope
from cloud_ingest.api import schemas as doc
from cloud_ingest.api.dependencies import Needs, Parts, TheParts
from cloud_ingest.api.responses import json_response
from cloud_ingest.errors import DatabaseUnavailable
from cloud_ingest.postgres.connection import connect
from cloud_ingest.privacy import erasure
from vitals.reading import Identifier

Eraser = Annotated[Caller, Depends(Needs(Scope.PATIENTS_ERASE))]

router = APIRouter(tags=["erasure"])

Found = TypeVar("Found")
State = Literal["requested", "running", "done"]
_STATEMENT_TIMEOUT_S = 5.0

_REFUSALS: dict[int | str, dict[str, Any]] = {
    401: {"model": doc.Refused, "description": "No valid bearer token"},
    403: {"model": doc.Refused, "description": "A token without the scope"},
    429: {"model": doc.Refused, "description": "Too much; come back after `Retry-After`"},
    422: {"model": doc.Refused, "description": "No identifier of ours"},
    503: {"model": doc.Refused, "description": "PostgreSQL is away; try again after `Retry-After`"},
}


class Store(BaseModel):
    """Progress of the erasure in one store."""

    state: State
    done_at: datetime | None = None
    rows_erased: dict[str, int] | None = Field(None, examples=[{"measurements": 86400, "patients": 1}])


class ErasureState(BaseModel):
    """A request to erase a child; it names nobody."""

    request_id: UUID
    state: Literal["requested", "running", "done", "lifted"]
    requested_at: datetime
    database: Store
    lake: Store = Field(description="The request as recorded for the lake, which is not erased yet")

    @classmethod
    def of(cls, request: erasure.Erasure) -> ErasureState:
        """The state of a request."""
        return cls.model_validate(
            {
                "request_id": request.request_id,
                "state": request.state,
                "requested_at": request.requested_at,
                "database": {
                    "state": request.database_state,
                    "done_at": request.database_done_at,
                    "rows_erased": request.rows_erased,
                },
                "lake": {"state": request.lake_state, "done_at": request.lake_done_at},
            }
        )


@router.delete(
    "/patients/{patient_id}",
    status_code=202,
    summary="Request the erasure of a patient",
    responses=_REFUSALS | {202: {"model": ErasureState, "description": "The request is on record"}},
)
async def delete_patient(
    patient_id: Annotated[Identifier, Path()], parts: TheParts, caller: Eraser
) -> Response:
    """Store the request; later messages of the patient are not recorded in PostgreSQL.

    `kidjamo-ingest erase` then erases the patient from PostgreSQL. Kafka and the lake are not erased.
    A second request for the same patient returns the first.
    """
    pseudonyms = parts.ingestion.intake.pseudonyms.every_pseudonym(patient_id)
    by = caller.gateway_id or "api"
    made = await _ask(parts, lambda database: erasure.request(database, pseudonyms, by))
    if parts.guard:
        parts.guard.audit.write(Action.ERASURE_REQUESTED, gateway=by, request=str(made.request_id))
    state = ErasureState.of(made).model_dump(mode="json")
    return json_response(state, 202, {"Location": f"/erasures/{made.request_id}"})


@router.get(
    "/erasures/{request_id}",
    summary="State of an erasure request",
    responses=_REFUSALS
    | {200: {"model": ErasureState}, 404: {"model": doc.Refused, "description": "No such request"}},
)
async def get_erasure(request_id: UUID, parts: TheParts, _caller: Eraser) -> Response:
    """Return the state of the request."""
    found = await _ask(parts, lambda database: erasure.find(database, request_id))
    if found is None:
        raise HTTPException(404, "no such erasure request")
    return json_response(ErasureState.of(found).model_dump(mode="json"))


async def _ask(parts: Parts, question: Callable[[connection], Found]) -> Found:
    """Put a question to PostgreSQL over a connection of its own: erasures are rare.

    Raises:
        DatabaseUnavailable: it does not answer in time, or has not been migrated.
    """

    def ask() -> Found:
        with closing(connect(parts.settings, "kidjamo-ingest erasures", _STATEMENT_TIMEOUT_S)) as database:
            return question(database)

    try:
        return await parts.rarely.run(ask)
    except psycopg2.Error as error:
        raise DatabaseUnavailable(f"PostgreSQL cannot take the request: {type(error).__name__}") from None
