"""Routes for readings, and for the dead letters of gateways."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from cloud_ingest.access.permissions import Caller, Scope
from cloud_ingest.api import schemas as doc
from cloud_ingest.api.body import read_body
from cloud_ingest.api.dependencies import IngestServiceDep, RequireScope
from cloud_ingest.api.responses import ingest_response
from cloud_ingest.errors import MalformedBody
from cloud_ingest.ingest.partial_batch import readings_of
from cloud_ingest.ingest.service import IngestRequest, IngestResponse, IngestService
from vitals.errors import InvalidReading
from vitals.reading import parse_json

_ERRORS_ACCEPTED: dict[int | str, dict[str, Any]] = {
    200: {"model": doc.ErrorsAccepted, "description": "Durable"}
}

ReadingsWriter = Annotated[Caller, Depends(RequireScope(Scope.READINGS_WRITE))]
ErrorsWriter = Annotated[Caller, Depends(RequireScope(Scope.ERRORS_WRITE))]

router = APIRouter(tags=["ingestion"])

_REFUSALS: dict[int | str, dict[str, Any]] = {
    401: {"model": doc.Refused, "description": "No valid bearer token"},
    403: {
        "model": doc.ReadingRefused,
        "description": "The token lacks the scope, or the device or patient belongs to another gateway "
        "(recorded on the errors topic)",
    },
    413: {"model": doc.Refused, "description": "More than 8 MiB, 32 MiB decompressed, or 10,000 readings"},
    415: {"model": doc.Refused, "description": "A Content-Encoding other than gzip and zstd"},
    422: {
        "model": doc.ReadingRefused,
        "description": "Malformed; recorded with its bytes as a dead letter",
    },
    429: {"model": doc.Refused, "description": "Too many requests; retry after `Retry-After`"},
    503: {"model": doc.Refused, "description": "Cannot be made durable now; retry after `Retry-After`"},
}
_ACCEPTED: dict[int | str, dict[str, Any]] = {
    200: {"model": doc.Accepted | doc.BatchAccepted, "description": "Durable: in Kafka or in the spool"}
}


@router.post(
    "/iot/measurements",
    summary="Send one reading or a batch",
    responses=_ACCEPTED | _REFUSALS,
    openapi_extra=doc.request_body(
        ["Reading", "ReadingBatch"],
        {"one reading": doc.READING, "a batch": {"readings": [doc.READING, doc.BACKLOG_READING]}},
    ),
)
async def post_measurements(request: Request, ingest: IngestServiceDep, caller: ReadingsWriter) -> Response:
    """Accept one reading, or `{"readings": […]}`; 200 means durable.

    The response to a batch has one result per reading, in the order sent; an invalid reading does not affect
    the others. The same `message_id` twice is one reading, so a sender that supplies it can safely retry.
    """
    return ingest_response(await _ingest(request, ingest, caller))


@router.post(
    "/ingest",
    summary="Send readings in the older form, nested or flat",
    responses=_ACCEPTED | _REFUSALS,
    openapi_extra=doc.request_body(
        ["FlatReading", "Reading", "ReadingBatch"], {"flat": doc.FLAT, "nested": doc.READING}
    ),
)
async def post_ingest(request: Request, ingest: IngestServiceDep, caller: ReadingsWriter) -> Response:
    """Accept a reading with its values beside `patient_id`; `timestamp` and `device_id` are optional."""
    return ingest_response(await _ingest(request, ingest, caller, flat=True))


@router.post(
    "/iot/errors",
    summary="Send the dead letters of a gateway",
    responses=_ERRORS_ACCEPTED | _REFUSALS,
    openapi_extra=doc.request_body(["GatewayErrors"], {"one error": {"errors": [doc.GATEWAY_ERROR]}}),
)
async def post_errors(request: Request, ingest: IngestServiceDep, caller: ErrorsWriter) -> Response:
    """Record messages that a gateway could not parse, with their original bytes."""
    received = IngestRequest.now()
    try:
        body = await read_body(request, caller)
        document = _decode(body)
        if not isinstance(document, dict) or not isinstance(document.get("errors"), list):
            raise MalformedBody("must be a list", body, "errors")
    except MalformedBody as error:
        return ingest_response(await _record_malformed(error, ingest, received, caller))
    return ingest_response(await ingest.gateway_errors(document["errors"], received, caller))


async def _ingest(
    request: Request, ingest: IngestService, caller: Caller, *, flat: bool = False
) -> IngestResponse:
    received = IngestRequest.now()
    try:
        body = await read_body(request, caller)
        document = _decode_readings(body)
        batch = document.get("readings") if isinstance(document, dict) else None
        if isinstance(document, dict) and "readings" in document and not isinstance(batch, list):
            raise MalformedBody("must be a list of readings", body, "readings")
    except MalformedBody as error:
        return await _record_malformed(error, ingest, received, caller)
    if isinstance(batch, list):
        return await ingest.batch(batch, received, caller, flat=flat)
    return await ingest.single(document, body, received, caller, flat=flat)


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


async def _record_malformed(
    error: MalformedBody, ingest: IngestService, received: IngestRequest, caller: Caller
) -> IngestResponse:
    reason = InvalidReading(error.field, error.reason)
    return await ingest.malformed(reason, error.original, received, caller)
