"""Route for the state of the service and of what it depends on."""

from __future__ import annotations

from typing import Any, Literal

from fastapi import APIRouter
from pydantic import BaseModel, Field
from starlette.responses import Response

from cloud_ingest import API_VERSION
from cloud_ingest.api.dependencies import DatabaseProbeDep, IngestServiceDep, KafkaProbeDep, SpoolDep
from cloud_ingest.api.responses import json_response
from cloud_ingest.delivery.spool import SpoolState

router = APIRouter(tags=["operation"])

DATABASE_ABSENT: dict[str, Any] = {"status": "not_configured"}
KAFKA_SLOW: dict[str, Any] = {"status": "down", "reason": "answers, but does not acknowledge records in time"}


class Health(BaseModel):
    """State of the service; `degraded` when a component is down."""

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
async def get_health(
    kafka: KafkaProbeDep, database: DatabaseProbeDep, spool: SpoolDep, ingest: IngestServiceDep
) -> Response:
    """Return 200 while the process serves; never waits for a component."""
    unacknowledged = kafka.up and not ingest.delivery.kafka_takes_records
    components = {
        "kafka": KAFKA_SLOW if unacknowledged else kafka.describe(),
        "database": database.describe() if database else DATABASE_ABSENT,
        "spool": _spool(spool.state),
    }
    degraded = any(component["status"] not in ("up", "not_configured") for component in components.values())
    status = "degraded" if degraded else "healthy"
    return json_response({"status": status, "components": components, "api_version": API_VERSION})


def _spool(state: SpoolState) -> dict[str, Any]:
    content = {"pending": state.pending, "refused": state.refused, "bytes": state.size}
    if state.error:
        return {"status": "down", "reason": state.error, **content}
    return {"status": "up", **content}
