"""Responses of the API: compact JSON, and one form for every refusal."""

from __future__ import annotations

from typing import Any

from pydantic_core import to_json
from starlette.responses import Response

from cloud_ingest.ingest.service import IngestResponse


def ingest_response(response: IngestResponse) -> Response:
    """Return the HTTP response of the ingest service's response."""
    return json_response(response.document, response.status)


def json_response(document: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """Return a response with compact JSON in UTF-8."""
    return Response(to_json(document), status, headers, "application/json")


def refusal(
    status: int, code: str, reason: str, headers: dict[str, str] | None = None, field: str = ""
) -> Response:
    """Return the response to a refused request; every refusal has this form."""
    return json_response({"error": code, "field": field, "reason": reason}, status, headers)
