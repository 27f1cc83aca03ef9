"""Responses in the API's own forms: compact JSON, and one shape for every refusal."""

from __future__ import annotations

from typing import Any

from pydantic_core import to_json
from starlette.responses import Response

from cloud_ingest.ingest.service import Answer


def answer_of(answer: Answer) -> Response:
    """An answer as JSON."""
    return json_response(answer.document, answer.status)


def json_response(document: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """Compact JSON in UTF-8."""
    return Response(to_json(document), status, headers, "application/json")


def refusal(
    status: int, code: str, reason: str, headers: dict[str, str] | None = None, field: str = ""
) -> Response:
    """The one form in which everything is refused."""
    return json_response({"error": code, "field": field, "reason": reason}, status, headers)
