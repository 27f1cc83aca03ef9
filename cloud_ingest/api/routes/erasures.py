"""Routes that request the erasure of a child's rows in PostgreSQL, and report its progress."""

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
from cloud_ingest.api.dependencies import (
    AuthorizerDep,
    DbExecutorDep,
    IngestServiceDep,
    RequireScope,
    SettingsDep,
)
from cloud_ingest.api.responses import json_response
from cloud_ingest.errors import DatabaseUnavailable
from cloud_ingest.postgres.connection import DbExecutor, connect
from cloud_ingest.privacy import erasure
from cloud_ingest.settings import Settings
from vitals.reading import Identifier

Eraser = Annotated[Caller, Depends(RequireScope(Scope.PATIENTS_ERASE))]

router = APIRouter(tags=["erasure"])

T = TypeVar("T")
State = Literal["requested", "running", "done"]
_STATEMENT_TIMEOUT_S = 5.0

_REFUSALS: dict[int | str, dict[str, Any]] = {
    401: {"model": doc.Refused, "description": "No valid bearer token"},
    403: {"model": doc.Refused, "description": "The token lacks the scope"},
    422: {"model": doc.Refused, "description": "Invalid identifier"},
    429: {"model": doc.Refused, "description": "Too many requests; retry after `Retry-After`"},
    503: {"model": doc.Refused, "description": "PostgreSQL is unavailable; retry after `Retry-After`"},
}


class StoreErasure(BaseModel):
    """State of the erasure in one store."""

    state: State
    done_at: datetime | None = None
    rows_erased: dict[str, int] | None = Field(None, examples=[{"measurements": 86400, "patients": 1}])


class ErasureStatus(BaseModel):
    """State of a request; it does not identify the child."""

    request_id: UUID
    state: Literal["requested", "running", "done", "lifted"] = Field(
        description="Of both stores: stays `running` once PostgreSQL is erased, because the lake is not"
    )
    requested_at: datetime
    database: StoreErasure = Field(description="PostgreSQL, erased by `kidjamo-ingest erase`")
    lake: StoreErasure = Field(description="Not erased by this version: stays `requested`")

    @classmethod
    def of(cls, request: erasure.Erasure) -> ErasureStatus:
        """Return the state of a request."""
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
    summary="Request the erasure of a child's rows in PostgreSQL",
    responses=_REFUSALS | {202: {"model": ErasureStatus, "description": "The request is stored"}},
)
async def delete_patient(
    patient_id: Annotated[Identifier, Path()],
    ingest: IngestServiceDep,
    settings: SettingsDep,
    executor: DbExecutorDep,
    authorizer: AuthorizerDep,
    caller: Eraser,
) -> Response:
    """Store the request. `kidjamo-ingest erase` erases the rows later, and the recorder skips later messages.

    Only PostgreSQL is erased. A repeated request returns the one that is stored already.
    """
    pseudonyms = ingest.processor.pseudonyms.every_pseudonym(patient_id)
    by = caller.gateway_id or "api"
    stored = await _run(executor, settings, lambda database: erasure.request(database, pseudonyms, by))
    if authorizer:
        authorizer.audit.write(Action.ERASURE_REQUESTED, gateway=by, request=str(stored.request_id))
    status = ErasureStatus.of(stored).model_dump(mode="json")
    return json_response(status, 202, {"Location": f"/erasures/{stored.request_id}"})


@router.get(
    "/erasures/{request_id}",
    summary="State of an erasure request",
    responses=_REFUSALS
    | {200: {"model": ErasureStatus}, 404: {"model": doc.Refused, "description": "No such request"}},
)
async def get_erasure(
    request_id: UUID, settings: SettingsDep, executor: DbExecutorDep, _caller: Eraser
) -> Response:
    """Return the state of the request."""
    stored = await _run(executor, settings, lambda database: erasure.find(database, request_id))
    if stored is None:
        raise HTTPException(404, "no such erasure request")
    return json_response(ErasureStatus.of(stored).model_dump(mode="json"))


async def _run(executor: DbExecutor, settings: Settings, query: Callable[[connection], T]) -> T:
    """Run a query over a connection of its own; erasures are too rare to keep one open.

    Raises:
        DatabaseUnavailable: PostgreSQL does not answer in time, or its schema is not migrated.
    """

    def work() -> T:
        with closing(connect(settings, "kidjamo-ingest erasures", _STATEMENT_TIMEOUT_S)) as database:
            return query(database)

    try:
        return await executor.run(work)
    except psycopg2.Error as error:
        raise DatabaseUnavailable(f"PostgreSQL refused the request: {type(error).__name__}") from None
