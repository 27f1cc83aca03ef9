"""Is the service there, and what it depends on?"""

from __future__ import annotations

from typing import Any, Literal

from fastapi import APIRouter
from pydantic import BaseModel, Field
from starlette.responses import Response

from cloud_ingest import API_VERSION
from cloud_ingest.api.dependencies import Parts, TheParts
from cloud_ingest.api.responses import json_response

router = APIRouter(tags=["operation"])

DATABASE_ABSENT: dict[str, Any] = {"status": "not_configured"}


class Health(BaseModel):
    """State of the service; `degraded` when something it depends on is away."""

    status: Literal["healthy", "degraded"]
    components: dict[str, dict[str, Any]] = Field(
        examples=[
            {
                "kafka": {"status": "up"},
                "database": {"status": "down", "reason": "does not answer"},
                "spool": {"status": "up", "pending": 0, "refused": 0, "bytes": 28672},
            }
        ]
    )
    api_version: str


@router.get("/health", summary="State of the service", responses={200: {"model": Health}})
async def get_health(parts: TheParts) -> Response:
    """Answer 200 for as long as the process serves; never waits for a component."""
    components = {
        "kafka": _kafka(parts),
        "database": parts.database.describe() if parts.database else DATABASE_ABSENT,
        "spool": _spool(parts),
    }
    degraded = any(component["status"] not in ("up", "not_configured") for component in components.values())
    status = "degraded" if degraded else "healthy"
    return json_response({"status": status, "components": components, "api_version": API_VERSION})


def _kafka(parts: Parts) -> dict[str, Any]:
    if parts.kafka.up and not parts.ingestion.delivery.kafka_takes_records:
        return {"status": "down", "reason": "answers, but has not acknowledged records in time"}
    return parts.kafka.describe()


def _spool(parts: Parts) -> dict[str, Any]:
    state = parts.spool.state
    holds = {"pending": state.pending, "refused": state.refused, "bytes": state.size}
    return {"status": "down", "reason": state.error, **holds} if state.error else {"status": "up", **holds}
