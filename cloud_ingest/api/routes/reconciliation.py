"""Do the books add up?"""

from __future__ import annotations

from contextlib import suppress
from typing import Any, Literal

from fastapi import APIRouter, Depends
from pydantic import BaseModel, Field
from starlette.responses import Response

from cloud_ingest.access.permissions import Scope
from cloud_ingest.api.dependencies import Needs, Parts, TheParts
from cloud_ingest.api.responses import json_response
from cloud_ingest.errors import DatabaseUnavailable, SpoolUnavailable
from cloud_ingest.kafka.record import utc_text

router = APIRouter(dependencies=[Depends(Needs(Scope.METRICS_READ))], tags=["operation"])

RECORDER_ABSENT: dict[str, Any] = {"status": "not_configured"}


class RecorderBooks(BaseModel):
    """The recorder's side: consumed = recorded + duplicates + dead_letters + heartbeats."""

    status: Literal["known", "unknown", "not_configured"]
    reason: str | None = Field(None, description="Why something is unknown")
    since: str | None = None
    consumed: int | None = Field(None, description="Messages read from Kafka")
    recorded: int | None = Field(None, description="New rows")
    duplicates: int | None = Field(None, description="Messages whose row was there already")
    dead_letters: int | None = Field(None, description="Messages that could be no rows")
    heartbeats: int | None = Field(None, description="Of gateways; they are no rows")
    skipped: int | None = Field(None, description="Messages gone from Kafka before they were read")
    difference: int | None = None
    lag: int | None = Field(None, description="Messages in Kafka that are still to be read")


class Reconciliation(BaseModel):
    """The books of this process, in records: a reading makes one, and one more per alert.

    opening + accepted + abandoned + resent = produced + pending + refused, but for what is in flight.
    """

    since: str = Field(description="Start of this process")
    opening: int = Field(description="Held by the spool at the start")
    accepted: int = Field(description="Senders were told that they are safe")
    abandoned: int = Field(description="In Kafka although the sender was told to send again")
    resent: int = Field(description="Sent to Kafka a second time")
    produced: int = Field(description="Acknowledged by Kafka")
    spooled: int = Field(description="Part of `accepted` that went to the spool")
    replayed: int = Field(description="Part of `produced` that came out of the spool")
    pending: int = Field(description="In the spool, waiting for Kafka")
    refused: int = Field(description="Refused by Kafka for good, kept beside the spool")
    in_flight: int = Field(description="Handed to Kafka, no answer yet")
    spools_set_aside: int = Field(description="Corrupt spool files whose content nobody accounted for")
    difference: int = Field(description="Above 0: missing; below 0: more than were promised")
    recorder: RecorderBooks
    balanced: bool | None = Field(
        description="false: something is off; null: nothing is, as far as the recorder's side is known"
    )


@router.get("/reconciliation", summary="Do the books add up?", responses={200: {"model": Reconciliation}})
async def get_reconciliation(parts: TheParts) -> Response:
    """Compare what was promised with what Kafka and the spool have, and what was read with what was recorded.

    The spool's records are counted on disk for this answer.
    """
    with suppress(SpoolUnavailable):  # its last count stands, and /health says what is wrong with it
        await parts.spool.audit()
    recorder = await _recorder(parts)
    books = parts.ingestion.delivery.reconcile()
    off = books.difference or books.set_aside or recorder.get("difference")
    unknown = recorder["status"] == "unknown"
    balanced = False if off else None if unknown else True
    return json_response(
        {"since": utc_text(parts.started), **books.document(), "recorder": recorder, "balanced": balanced}
    )


async def _recorder(parts: Parts) -> dict[str, Any]:
    if parts.recorder is None:
        return RECORDER_ABSENT
    try:
        return await parts.rarely.run(parts.recorder)
    except DatabaseUnavailable as error:
        return {"status": "unknown", "reason": str(error)}
