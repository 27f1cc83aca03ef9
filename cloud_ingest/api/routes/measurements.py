"""Readings in, and the dead letters of gateways."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from cloud_ingest.access.permissions import Caller, Scope
from cloud_ingest.api import schemas as doc
from cloud_ingest.api.dependencies import Needs, TheParts, body_of
from cloud_ingest.api.responses import answer_of
from cloud_ingest.errors import MalformedBody
from cloud_ingest.ingest.partial_batch import readings_of
from cloud_ingest.ingest.service import Answer, Arrival, Ingestion
from vitals.errors import InvalidReading
from vitals.reading import parse_json

_KEPT: dict[int | str, dict[str, Any]] = {200: {"model": doc.ErrorsAccepted, "description": "Durable"}}

ReadingsWriter = Annotated[Caller, Depends(Needs(Scope.READINGS_WRITE))]
ErrorsWriter = Annotated[Caller, Depends(Needs(Scope.ERRORS_WRITE))]

router = APIRouter(tags=["ingestion"])

_REFUSALS: dict[int | str, dict[str, Any]] = {
    401: {"model": doc.Refused, "description": "No valid bearer token"},
    403: {
        "model": doc.ReadingRefused,
        "description": "A token without the scope, or another gateway's device or patient (kept as an error)",
    },
    413: {"model": doc.Refused, "description": "More than 8 MiB, 32 MiB decompressed, or 10,000 readings"},
    415: {"model": doc.Refused, "description": "A Content-Encoding other than gzip and zstd"},
    422: {"model": doc.ReadingRefused, "description": "Malformed; kept on the errors topic with its bytes"},
    429: {"model": doc.Refused, "description": "Too much; come back after `Retry-After`"},
    503: {"model": doc.Refused, "description": "Cannot be made durable now; try again after `Retry-After`"},
}
_ACCEPTED: dict[int | str, dict[str, Any]] = {
    200: {"model": doc.Accepted | doc.BatchAccepted, "description": "Durable: in Kafka or in the spool"}
}


@router.post(
    "/iot/measurements",
    summary="One reading, or a batch",
    responses=_ACCEPTED | _REFUSALS,
    openapi_extra=doc.request_body(
        ["Reading", "Batch"],
        {"one reading": doc.READING, "a batch": {"readings": [doc.READING, doc.BACKLOG_READING]}},
    ),
)
async def post_measurements(request: Request, parts: TheParts, caller: ReadingsWriter) -> Response:
    """Take one reading, or `{"readings": […]}`; 200 means durable.

    A batch answers for each reading in the order sent: one bad reading never sinks the others. The same
    `message_id` twice is one reading, so a sender that supplies it can safely send again.
    """
    return answer_of(await _ingest(request, parts.ingestion, caller))


@router.post(
    "/ingest",
    summary="The older form, nested or flat",
    responses=_ACCEPTED | _REFUSALS,
    openapi_extra=doc.request_body(
        ["FlatReading", "Reading", "Batch"], {"flat": doc.FLAT, "nested": doc.READING}
    ),
)
async def post_ingest(request: Request, parts: TheParts, caller: ReadingsWriter) -> Response:
    """Take a reading with its values beside the patient; time and device may be left out there."""
    return answer_of(await _ingest(request, parts.ingestion, caller, flat=True))


@router.post(
    "/iot/errors",
    summary="Dead letters of a gateway",
    responses=_KEPT | _REFUSALS,
    openapi_extra=doc.request_body(["GatewayErrors"], {"one error": {"errors": [doc.GATEWAY_ERROR]}}),
)
async def post_errors(request: Request, parts: TheParts, caller: ErrorsWriter) -> Response:
    """Keep what a gateway could not read, with its original bytes."""
    arrival, ingestion = Arrival.now(), parts.ingestion
    try:
        body = await body_of(request, caller)
        document = _decode(body)
        if not isinstance(document, dict) or not isinstance(document.get("errors"), list):
            raise MalformedBody("must be a list", body, "errors")
    except MalformedBody as error:
        return answer_of(await _keep(error, ingestion, arrival, caller))
    return answer_of(await ingestion.gateway_errors(document["errors"], arrival, caller))


async def _ingest(request: Request, ingestion: Ingestion, caller: Caller, *, flat: bool = False) -> Answer:
    arrival = Arrival.now()
    try:
        body = await body_of(request, caller)
        document = _decode_readings(body)
        batch = document.get("readings") if isinstance(document, dict) else None
        if isinstance(document, dict) and "readings" in document and not isinstance(batch, list):
            raise MalformedBody("must be a list of readings", body, "readings")
    except MalformedBody as error:
        return await _keep(error, ingestion, arrival, caller)
    if isinstance(batch, list):
        return await ingestion.batch(batch, arrival, caller, flat=flat)
    return await ingestion.single(document, body, arrival, caller, flat=flat)


def _decode_readings(body: bytes) -> Any:
    try:
        return _decode(body)
    except MalformedBody:
        if (readings := readings_of(body)) is None:
            raise
        return {"readings": readings}


def _decode(body: bytes) -> Any:
    try:
        return parse_json(body)
    except InvalidReading as error:
        raise MalformedBody(error.reason if _is_utf8(body) else "not UTF-8", body, error.field) from None


def _is_utf8(body: bytes) -> bool:
    try:
        body.decode()
    except UnicodeDecodeError:
        return False
    return True


async def _keep(error: MalformedBody, ingestion: Ingestion, arrival: Arrival, caller: Caller) -> Answer:
    reason = InvalidReading(error.field, error.reason)
    return await ingestion.malformed(reason, error.original, arrival, caller)
