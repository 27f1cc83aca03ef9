"""Route for the heartbeats of gateways."""

from __future__ import annotations

import logging
from typing import Any

from fastapi import APIRouter, Request
from pydantic import BaseModel
from starlette.responses import Response

from cloud_ingest.access.permissions import Caller
from cloud_ingest.alarms.queries import AlarmQueries
from cloud_ingest.api import schemas as doc
from cloud_ingest.api.body import read_document
from cloud_ingest.api.dependencies import AlarmQueriesDep, AuthorizerDep, DatabaseProbeDep, IngestServiceDep
from cloud_ingest.api.responses import json_response, refusal
from cloud_ingest.api.routes.measurements import ReadingsWriter
from cloud_ingest.errors import DatabaseUnavailable, NotAllowed
from cloud_ingest.ingest.service import IngestRequest
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


class HeartbeatAccepted(BaseModel):
    """The heartbeat is durable."""

    status: str = "accepted"
    acknowledgements: list[Acknowledged]


@router.post(
    "/iot/heartbeat",
    summary="Send a heartbeat of a gateway",
    responses={
        200: {"model": HeartbeatAccepted},
        401: {"model": doc.Refused, "description": "No valid bearer token"},
        403: {
            "model": doc.Refused,
            "description": "The token lacks the scope, or the gateway or a patient is not the token's",
        },
        422: {"model": doc.Refused, "description": "Malformed"},
        429: {"model": doc.Refused, "description": "Too many requests; retry after `Retry-After`"},
        503: {"model": doc.Refused, "description": "Cannot be made durable now"},
    },
    openapi_extra=doc.request_body(["Heartbeat"], {"a heartbeat": _EXAMPLE}),
)
async def post_heartbeat(
    request: Request,
    ingest: IngestServiceDep,
    authorizer: AuthorizerDep,
    alarms: AlarmQueriesDep,
    database: DatabaseProbeDep,
    caller: ReadingsWriter,
) -> Response:
    """Accept a heartbeat, due every 30 s; two minutes without one raise `GATEWAY_SILENT`.

    The response carries the acknowledgements of the last 30 minutes for the children the gateway watches.
    """
    received, heartbeat = IngestRequest.now(), await read_document(request, caller, Heartbeat)
    try:
        _authorize(caller, heartbeat)
    except NotAllowed as error:
        if authorizer:
            authorizer.note(caller, [error])
        return refusal(403, "forbidden", error.reason, field=error.field)
    pseudonyms = ingest.processor.pseudonyms
    await ingest.delivery.deliver([_record(heartbeat, pseudonyms, utc_text(received.received_at))])
    acknowledgements = await _acknowledgements(alarms, heartbeat, pseudonyms) if database else []
    return json_response(HeartbeatAccepted(acknowledgements=acknowledgements).model_dump(mode="json"))


def _authorize(caller: Caller, heartbeat: Heartbeat) -> None:
    caller.authorize_gateway(heartbeat.gateway_id)
    caller.authorize_patients("watches", heartbeat.watches)
    caller.authorize_patients("episodes", (episode.patient_id for episode in heartbeat.episodes))


def _record(heartbeat: Heartbeat, pseudonyms: Pseudonyms, received: str) -> Record:
    """Return the message for the device-status topic: that of a device, with the fields of a heartbeat."""
    document: dict[str, Any] = heartbeat.model_dump(mode="json", exclude_none=True) | {
        "kind": KIND,
        "message_id": str(heartbeat.status_id),
        "device_id": heartbeat.gateway_id,
        "ingestion_timestamp": received,
        "watches": [pseudonyms.pseudonym(patient) for patient in heartbeat.watches],
    }
    for episode in document["episodes"]:
        episode["patient_id"] = pseudonyms.pseudonym(episode["patient_id"])
    return Record.of(DEVICE_STATUS, heartbeat.gateway_id, document)


async def _acknowledgements(
    alarms: AlarmQueries, heartbeat: Heartbeat, pseudonyms: Pseudonyms
) -> list[Acknowledged]:
    """Return recent acknowledgements under the patient identifiers that the gateway uses."""
    if not heartbeat.watches:
        return []
    patients = {pseudonyms.pseudonym(patient): patient for patient in heartbeat.watches}
    try:
        recent = await alarms.recent(patients)
    except DatabaseUnavailable as error:  # the heartbeat is durable all the same
        log.debug("no acknowledgements in the response to a heartbeat: %s", error)
        return []
    return [each.for_gateway(patients[each.patient_id]) for each in recent if each.patient_id in patients]
