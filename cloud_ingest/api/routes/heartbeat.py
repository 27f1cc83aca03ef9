"""A gateway's sign of life."""

from __future__ import annotations

import logging
from typing import Any

from fastapi import APIRouter, Request
from pydantic import BaseModel
from starlette.responses import Response

from cloud_ingest.api import schemas as doc
from cloud_ingest.api.dependencies import Parts, TheParts, document_of
from cloud_ingest.api.responses import json_response, refusal
from cloud_ingest.api.routes.measurements import ReadingsWriter
from cloud_ingest.errors import DatabaseUnavailable, NotAllowed
from cloud_ingest.ingest.service import Arrival
from cloud_ingest.kafka.record import Record, utc_text
from cloud_ingest.privacy.pseudonyms import Pseudonyms
from vitals.heartbeat import KIND, Acknowledged, Heartbeat
from vitals.topics import DEVICE_STATUS

log = logging.getLogger(__name__)

router = APIRouter(tags=["ingestion"])

_EXAMPLE = {
    "status_id": "3d0e3f6a-6f0e-4c8a-9d0c-0a5b6f6d1c11",
    "gateway_id": "gw-001",
    "timestamp": "2025-08-24T10:30:00Z",
    "parts": {"api": "up", "outbox": "writes"},
    "outbox_pending": 0,
    "contacts_reachable": True,
    "watches": ["patient-001-ss"],
    "episodes": [],
}


class Heard(BaseModel):
    """The heartbeat is durable."""

    status: str = "accepted"
    acknowledgements: list[Acknowledged]


@router.post(
    "/iot/heartbeat",
    summary="A gateway's sign of life",
    responses={
        200: {"model": Heard},
        401: {"model": doc.Refused, "description": "No valid bearer token"},
        403: {
            "model": doc.Refused,
            "description": "Lacks the scope, or is another gateway's or patient's",
        },
        422: {"model": doc.Refused, "description": "Malformed"},
        429: {"model": doc.Refused, "description": "Too much; come back after `Retry-After`"},
        503: {"model": doc.Refused, "description": "Cannot be made durable now"},
    },
    openapi_extra=doc.request_body(["Heartbeat"], {"a heartbeat": _EXAMPLE}),
)
async def post_heartbeat(request: Request, parts: TheParts, caller: ReadingsWriter) -> Response:
    """Take a sign of life, every 30 s; two minutes without one raise `GATEWAY_SILENT`.

    The answer carries acknowledgements made in the cloud of the last 30 minutes, for the children it watches.
    """
    arrival, heartbeat = Arrival.now(), await document_of(request, caller, Heartbeat)
    try:
        caller.speak_as(heartbeat.gateway_id)
        caller.care_for("watches", heartbeat.watches)
        caller.care_for("episodes", (episode.patient_id for episode in heartbeat.episodes))
    except NotAllowed as error:
        if parts.guard:
            parts.guard.note(caller, [error])
        return refusal(403, "forbidden", error.reason, field=error.field)
    hidden = parts.ingestion.intake.pseudonyms
    await parts.ingestion.delivery.deliver([_record(heartbeat, hidden, utc_text(arrival.at))])
    made = await _acknowledgements(parts, heartbeat, hidden)
    return json_response(Heard(acknowledgements=made).model_dump(mode="json"))


def _record(heartbeat: Heartbeat, hidden: Pseudonyms, received: str) -> Record:
    """Its document on the device-status topic: that of a device, with what a gateway has to say besides."""
    document: dict[str, Any] = heartbeat.model_dump(mode="json", exclude_none=True) | {
        "kind": KIND,
        "message_id": str(heartbeat.status_id),
        "device_id": heartbeat.gateway_id,
        "ingestion_timestamp": received,
        "watches": [hidden.pseudonym(patient) for patient in heartbeat.watches],
    }
    for episode in document["episodes"]:
        episode["patient_id"] = hidden.pseudonym(episode["patient_id"])
    return Record.of(DEVICE_STATUS, heartbeat.gateway_id, document)


async def _acknowledgements(parts: Parts, heartbeat: Heartbeat, hidden: Pseudonyms) -> list[Acknowledged]:
    if parts.database is None or not heartbeat.watches:
        return []
    clear = {hidden.pseudonym(patient): patient for patient in heartbeat.watches}
    try:
        made = await parts.alarms.recent(clear)
    except DatabaseUnavailable as error:  # the heartbeat counts all the same
        log.debug("no acknowledgements for a gateway: %s", error)
        return []
    return [each.for_gateway(clear[each.patient_id]) for each in made if each.patient_id in clear]
