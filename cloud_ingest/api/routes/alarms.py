"""Alarms that stand, and their acknowledgement."""

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
from cloud_ingest.api.dependencies import Needs, TheParts, document_of
from cloud_ingest.api.responses import json_response
from vitals.conditions import ConditionKind, Priority, Standing
from vitals.episodes import Episode
from vitals.notices import Group
from vitals.reading import Identifier, UtcTime

AlarmsWriter = Annotated[Caller, Depends(Needs(Scope.ALARMS_WRITE))]

router = APIRouter(tags=["alarms"])

_REFUSALS: dict[int | str, dict[str, Any]] = {
    401: {"model": doc.Refused, "description": "No valid bearer token"},
    403: {"model": doc.Refused, "description": "A token without the scope"},
    429: {"model": doc.Refused, "description": "Too much; come back after `Retry-After`"},
    503: {"model": doc.Refused, "description": "PostgreSQL is away; try again after `Retry-After`"},
}


class Taken(BaseModel):
    """An acknowledgement that is durable; alarms follow it within two seconds."""

    status: str = "accepted"
    acknowledgement_id: UUID


class OpenAlarm(BaseModel):
    """One alarm of one child."""

    group: Group
    phase: str
    since: UtcTime | None
    latest: UtcTime | None
    records: int
    worst: dict[str, float]
    level: int = Field(description="Contacts beyond the first that are told: 0, 1, 2")
    told: UtcTime | None
    left_to_gateway: bool = Field(description="The child's gateway tells people, the cloud is silent")
    silence: dict[str, Any] | None = Field(description="Who silenced it, and until when")


class ChildAlarms(BaseModel):
    """A child with open alarms."""

    patient_id: str
    alarms: list[OpenAlarm]


class StandingCondition(BaseModel):
    """A technical condition that stands."""

    key: str
    kind: str
    subject: str
    priority: str
    text: str
    text_fr: str
    since: UtcTime
    told: UtcTime
    silenced_by: str | None
    silent_until: UtcTime | None


class GatewayState(BaseModel):
    """A gateway that was heard at least once."""

    gateway_id: str
    heard: UtcTime
    contacts_reachable: bool
    watches: int
    outbox_pending: int | None
    parts: dict[str, str]


class StandingAlarms(BaseModel):
    """All that stands."""

    as_of: UtcTime | None = Field(
        description="When the alarms process last kept its state; more than 10 s ago: it does not run"
    )
    children: list[ChildAlarms]
    conditions: list[StandingCondition]
    gateways: list[GatewayState]


_STANDING: dict[int | str, dict[str, Any]] = {200: {"model": StandingAlarms}}
_TAKEN: dict[int | str, dict[str, Any]] = {
    202: {"model": Taken, "description": "Durable; alarms follow within two seconds"},
    404: {"model": doc.Refused, "description": "Nothing of that name is known"},
    422: {"model": doc.Refused, "description": "Malformed"},
}


@router.get(
    "/alarms",
    summary="Open alarms and conditions",
    responses=_STANDING | _REFUSALS,
    dependencies=[Depends(Needs(Scope.ALARMS_READ))],
)
async def get_alarms(parts: TheParts) -> Response:
    """Answer what stands, children by pseudonym."""
    return json_response(_standing(await parts.alarms.snapshot()).model_dump(mode="json"))


@router.post(
    "/alarms/conditions/acknowledge",
    summary="Acknowledge a technical condition",
    status_code=202,
    responses=_TAKEN | _REFUSALS,
    openapi_extra=doc.request_body(
        ["ConditionAcknowledgement"], {"a silent gateway": {"key": "GATEWAY_SILENT:gw-001", "by": "Fatou"}}
    ),
)
async def acknowledge_condition(request: Request, parts: TheParts, caller: AlarmsWriter) -> Response:
    """Silence a technical condition that stands for 30 minutes, or retire its gateway, with one's name."""
    wanted = await document_of(request, caller, doc.ConditionAcknowledgement)
    made = await parts.alarms.acknowledge_condition(wanted.key, wanted.by, wanted.retire)
    return _taken(made, "no such condition stands")


@router.post(
    "/alarms/{patient_id}/acknowledge",
    summary="Acknowledge a child's alarms",
    status_code=202,
    responses=_TAKEN | _REFUSALS,
    openapi_extra=doc.request_body(
        ["ChildAcknowledgement"],
        {"all alarms": {"by": "Fatou"}, "one": {"by": "Fatou", "group": "SPO2", "minutes": 5}},
    ),
)
async def acknowledge_alarms(
    patient_id: Identifier, request: Request, parts: TheParts, caller: AlarmsWriter
) -> Response:
    """Silence a child's open alarms for a bounded time, with one's name; `patient_id` is the pseudonym."""
    wanted = await document_of(request, caller, doc.ChildAcknowledgement)
    silence_s = None if wanted.minutes is None else round(wanted.minutes * 60)
    made = await parts.alarms.acknowledge_patient(patient_id, wanted.by, wanted.group, silence_s)
    return _taken(made, "no such child has been heard of; children go by their pseudonyms here")


def _taken(acknowledgement_id: UUID | None, otherwise: str) -> Response:
    if acknowledgement_id is None:
        raise HTTPException(404, otherwise)
    return json_response({"status": "accepted", "acknowledgement_id": str(acknowledgement_id)}, 202)


def _standing(present: AlarmSnapshot) -> StandingAlarms:
    return StandingAlarms(
        as_of=present.as_of,
        children=[_child(patient_id, child) for patient_id, child in present.patients.items()],
        conditions=[_condition(key, each) for key, each in present.conditions.standing.items()],
        gateways=[
            GatewayState(
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
    shown = episode.model_dump(include={"group", "since", "latest", "records", "level", "told"})
    silence = episode.silence.model_dump(mode="json") if episode.silence else None
    return OpenAlarm(
        **shown,
        phase=episode.phase.value,
        worst=episode.worst_values,
        left_to_gateway=left_to_gateway,
        silence=silence,
    )


def _condition(key: str, standing: Standing) -> StandingCondition:
    kind, _, subject = key.partition(":")
    text = ConditionKind(kind).text
    shown = standing.model_dump(include={"since", "told", "silenced_by", "silent_until"})
    priority = Priority(standing.priority).name
    return StandingCondition(
        key=key, kind=kind, subject=subject, priority=priority, text=text("en"), text_fr=text("fr"), **shown
    )
