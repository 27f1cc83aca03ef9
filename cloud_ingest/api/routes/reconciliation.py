"""Route that compares the records accepted with those delivered and recorded."""

from __future__ import annotations

from contextlib import suppress
from typing import Any, Literal

from fastapi import APIRouter, Depends
from pydantic import BaseModel, Field
from starlette.responses import Response

from cloud_ingest.access.permissions import Scope
from cloud_ingest.api.dependencies import (
    DbExecutorDep,
    IngestServiceDep,
    RecorderViewDep,
    RequireScope,
    SpoolDep,
    StartedDep,
)
from cloud_ingest.api.responses import json_response
from cloud_ingest.errors import DatabaseUnavailable, SpoolUnavailable
from cloud_ingest.kafka.record import utc_text
from cloud_ingest.postgres.connection import DbExecutor
from cloud_ingest.recorder.status import RecorderView

router = APIRouter(dependencies=[Depends(RequireScope(Scope.METRICS_READ))], tags=["operation"])

RECORDER_ABSENT: dict[str, Any] = {"status": "not_configured"}


class RecorderCounters(BaseModel):
    """Counters of the recorder: consumed = recorded + duplicates + dead_letters + heartbeats."""

    status: Literal["known", "unknown", "not_configured"]
    reason: str | None = Field(None, description="Why a value is unknown")
    since: str | None = None
    consumed: int | None = Field(None, description="Messages read from Kafka")
    recorded: int | None = Field(None, description="Rows inserted")
    duplicates: int | None = Field(None, description="Messages whose row existed already")
    dead_letters: int | None = Field(None, description="Messages that could not be recorded")
    heartbeats: int | None = Field(None, description="Heartbeats of gateways, which are not recorded")
    skipped: int | None = Field(None, description="Messages deleted from Kafka before they were read")
    difference: int | None = None
    lag: int | None = Field(None, description="Messages in Kafka that are not read yet")


class ReconciliationReport(BaseModel):
    """Counters of this process in records: a reading is one record, and one more per alert.

    opening + accepted + abandoned + resent = produced + pending + refused, apart from records in flight.
    """

    since: str = Field(description="Start of this process")
    opening: int = Field(description="Records in the spool at the start")
    accepted: int = Field(description="Confirmed to the sender as durable")
    abandoned: int = Field(description="In Kafka, although the sender was told to retry")
    resent: int = Field(description="Sent to Kafka a second time")
    produced: int = Field(description="Acknowledged by Kafka")
    spooled: int = Field(description="Part of `accepted` that was written to the spool")
    replayed: int = Field(description="Part of `produced` that came from the spool")
    pending: int = Field(description="In the spool, waiting for Kafka")
    refused: int = Field(description="Rejected permanently by Kafka, stored beside the spool")
    in_flight: int = Field(description="Sent to Kafka, not acknowledged yet")
    spools_set_aside: int = Field(description="Corrupt spool files whose records are not accounted for")
    difference: int = Field(description="Above 0: records missing; below 0: more records than accepted")
    recorder: RecorderCounters
    balanced: bool | None = Field(
        description="false: a difference was found; null: none was found, but the recorder's side is unknown"
    )


@router.get(
    "/reconciliation",
    summary="Compare accepted with delivered and recorded records",
    responses={200: {"model": ReconciliationReport}},
)
async def get_reconciliation(
    started: StartedDep,
    ingest: IngestServiceDep,
    spool: SpoolDep,
    recorder: RecorderViewDep,
    executor: DbExecutorDep,
) -> Response:
    """Compare records accepted with those in Kafka and the spool, and messages read with rows recorded.

    The records of the spool are counted on disk for this response.
    """
    with suppress(SpoolUnavailable):  # its last count is reported, and /health has the reason
        await spool.audit()
    recorded = await _recorder_report(recorder, executor)
    balance = ingest.delivery.balance()
    unbalanced = balance.difference or balance.set_aside or recorded.get("difference")
    unknown = recorded["status"] == "unknown"
    balanced = False if unbalanced else None if unknown else True
    return json_response(
        {"since": utc_text(started), **balance.document(), "recorder": recorded, "balanced": balanced}
    )


async def _recorder_report(recorder: RecorderView | None, executor: DbExecutor) -> dict[str, Any]:
    if recorder is None:
        return RECORDER_ABSENT
    try:
        return await executor.run(recorder)
    except DatabaseUnavailable as error:
        return {"status": "unknown", "reason": str(error)}
