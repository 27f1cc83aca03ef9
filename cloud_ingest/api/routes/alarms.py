"""Routes for open alarms and their acknowledgement."""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, HTTPException, Request
from pydantic import BaseModel, Field
from starlette.responses import Response

from cloud_ingest.access.permissions import Caller, Scope
from cloud_ingest.alarms.queries import AlarmSnapshot
from cloud_ingest.alarms.states import PatientAlarms
from cloud_ingest.api import schemas as doc
from cloud_ingest.api.body import read_document
from cloud_ingest.api.dependencies import AlarmQueriesDep, RequireScope
from cloud_ingest.api.responses import json_response
from vitals.conditions import ConditionKind, Priority, Standing
from vitals.episodes import Episode
from vitals.notices import Group
from vitals.reading import Identifier, UtcTime

AlarmsWriter = Annotated[Caller, Depends(RequireScope(Scope.ALARMS_WRITE))]

router = APIRouter(tags=["alarms"])

_REFUSALS: dict[int | str, dict[str, Any]] = {
    401: {"model": doc.Refused, "description": "No valid bearer token"},
    403: {"model": doc.Refused, "description": "The token lacks the scope"},
    429: {"model": doc.Refused, "description": "Too many requests; retry after `Retry-After`"},
    503: {"model": doc.Refused, "description": "PostgreSQL is unavailable; retry after `Retry-After`"},
}


class AcknowledgementAccepted(BaseModel):
    """A durable acknowledgement; the alarms process applies it within two seconds."""

    status: str = "accepted"
    acknowledgement_id: UUID


class OpenAlarm(BaseModel):
    """One alarm of a child."""

    group: Group
    phase: str
    since: UtcTime | None
    latest: UtcTime | None
    records: int
    worst: dict[str, float]
    level: int = Field(description="Escalation: the highest level of contacts that is notified, 0 to 2")
    told: UtcTime | None = Field(description="Time of the last notification")
    left_to_gateway: bool = Field(description="The child's gateway notifies, the cloud does not")
    silence: dict[str, Any] | None = Field(description="Who silenced it, and until when")


class ChildAlarms(BaseModel):
    """A child with open alarms."""

    patient_id: str
    alarms: list[OpenAlarm]


class ActiveCondition(BaseModel):
    """An active technical condition."""

    key: str
    kind: str
    subject: str
    priority: str
    text: str
    text_fr: str
    since: UtcTime
    told: UtcTime = Field(description="Time of the last notification")
    silenced_by: str | None
    silent_until: UtcTime | None


class GatewayStatus(BaseModel):
    """A gateway that has sent at least one heartbeat."""

    gateway_id: str
    heard: UtcTime = Field(description="Time of its last heartbeat")
    contacts_reachable: bool
    watches: int = Field(description="Number of children it watches")
    outbox_pending: int | None
    parts: dict[str, str]


class ActiveAlarms(BaseModel):
    """Open alarms, active conditions, and the gateways."""

    as_of: UtcTime | None = Field(
        description="When the alarms process last saved its state; more than 10 s ago: it is not running"
    )
    children: list[ChildAlarms]
    conditions: list[ActiveCondition]
    gateways: list[GatewayStatus]


_ACTIVE: dict[int | str, dict[str, Any]] = {200: {"model": ActiveAlarms}}
_ACCEPTED: dict[int | str, dict[str, Any]] = {
    202: {"model": AcknowledgementAccepted, "description": "Durable; applied within two seconds"},
    404: {"model": doc.Refused, "description": "Unknown child, or no such active condition"},
    422: {"model": doc.Refused, "description": "Malformed"},
}


@router.get(
    "/alarms",
    summary="Open alarms and conditions",
    responses=_ACTIVE | _REFUSALS,
    dependencies=[Depends(RequireScope(Scope.ALARMS_READ))],
)
async def get_alarms(alarms: AlarmQueriesDep) -> Response:
    """Return open alarms, active conditions and gateways; children are identified by pseudonym."""
    return json_response(_active_alarms(await alarms.snapshot()).model_dump(mode="json"))


@router.post(
    "/alarms/conditions/acknowledge",
    summary="Acknowledge a technical condition",
    status_code=202,
    responses=_ACCEPTED | _REFUSALS,
    openapi_extra=doc.request_body(
        ["ConditionAcknowledgement"], {"a silent gateway": {"key": "GATEWAY_SILENT:gw-001", "by": "Fatou"}}
    ),
)
async def acknowledge_condition(request: Request, alarms: AlarmQueriesDep, caller: AlarmsWriter) -> Response:
    """Silence an active technical condition for 30 minutes, or retire its gateway; `by` is recorded."""
    document = await read_document(request, caller, doc.ConditionAcknowledgement)
    stored = await alarms.acknowledge_condition(document.key, document.by, document.retire)
    return _accepted(stored, "no such condition is active")


@router.post(
    "/alarms/{patient_id}/acknowledge",
    summary="Acknowledge a child's alarms",
    status_code=202,
    responses=_ACCEPTED | _REFUSALS,
    openapi_extra=doc.request_body(
        ["ChildAcknowledgement"],
        {"all alarms": {"by": "Fatou"}, "one": {"by": "Fatou", "group": "SPO2", "minutes": 5}},
    ),
)
async def acknowledge_alarms(
    patient_id: Identifier, request: Request, alarms: AlarmQueriesDep, caller: AlarmsWriter
) -> Response:
    """Silence a child's open alarms for a limited time; `patient_id` is the pseudonym, `by` is recorded."""
    document = await read_document(request, caller, doc.ChildAcknowledgement)
    silence_s = None if document.minutes is None else round(document.minutes * 60)
    stored = await alarms.acknowledge_patient(patient_id, document.by, document.group, silence_s)
    return _accepted(stored, "unknown child; children are identified by their pseudonyms here")


def _accepted(acknowledgement_id: UUID | None, not_found: str) -> Response:
    if acknowledgement_id is None:
        raise HTTPException(404, not_found)
    return json_response({"status": "accepted", "acknowledgement_id": str(acknowledgement_id)}, 202)


def _active_alarms(present: AlarmSnapshot) -> ActiveAlarms:
    return ActiveAlarms(
        as_of=present.as_of,
        children=[_child(patient_id, child) for patient_id, child in present.patients.items()],
        conditions=[_condition(key, standing) for key, standing in present.conditions.standing.items()],
        gateways=[
            GatewayStatus(
                gateway_id=identity,
                heard=gateway.heard,
                contacts_reachable=gateway.heartbeat.contacts_reachable,
                watches=len(gateway.heartbeat.watches),
                outbox_pending=gateway.heartbeat.outbox_pending,
                parts=gateway.heartbeat.parts,
            )
            for identity, gateway in present.gateways.items()
        ],
    )


def _child(patient_id: str, child: PatientAlarms) -> ChildAlarms:
    alarms = [_alarm(episode, episode.group in child.left_to_gateway) for episode in child.episodes.open]
    return ChildAlarms(patient_id=patient_id, alarms=alarms)


def _alarm(episode: Episode, left_to_gateway: bool) -> OpenAlarm:
    fields = episode.model_dump(include={"group", "since", "latest", "records", "level", "told"})
    silence = episode.silence.model_dump(mode="json") if episode.silence else None
    return OpenAlarm(
        **fields,
        phase=episode.phase.value,
        worst=episode.worst_values,
        left_to_gateway=left_to_gateway,
        silence=silence,
    )


def _condition(key: str, standing: Standing) -> ActiveCondition:
    kind, _, subject = key.partition(":")
    text = ConditionKind(kind).text
    fields = standing.model_dump(include={"since", "told", "silenced_by", "silent_until"})
    priority = Priority(standing.priority).name
    return ActiveCondition(
        key=key, kind=kind, subject=subject, priority=priority, text=text("en"), text_fr=text("fr"), **fields
    )
