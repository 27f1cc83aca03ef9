"""Route for the counters of the API."""

from __future__ import annotations

import time
from typing import Any

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from cloud_ingest.access.permissions import Scope
from cloud_ingest.api.dependencies import IngestServiceDep, RequireScope, SpoolDep
from cloud_ingest.api.responses import json_response
from cloud_ingest.delivery.spool import Spool
from cloud_ingest.ingest.service import IngestService
from cloud_ingest.metrics.prometheus import CONTENT_TYPE, exposition, wants_prometheus
from vitals.topics import KAFKA_TOPICS

router = APIRouter(dependencies=[Depends(RequireScope(Scope.METRICS_READ))], tags=["operation"])

_EXAMPLE = {
    "processed_messages": 1200,
    "kafka_topics": dict.fromkeys(KAFKA_TOPICS, 0),
    "api_uptime_s": 600.0,
    "latency_p50_s": 0.004,
    "latency_p95_s": 0.008,
    "latency_p99_s": 0.011,
    "throughput_eps": 2.0,
    "valid_pct": 98.5,
    "alerts_by_type": {"CRITICAL_SPO2": 3},
}


@router.get(
    "/metrics",
    summary="Counters, latencies, throughput",
    responses={200: {"content": {"application/json": {"example": _EXAMPLE}, "text/plain": {}}}},
)
async def get_metrics(request: Request, ingest: IngestServiceDep, spool: SpoolDep) -> Response:
    """Return JSON, or the Prometheus text format when `Accept` prefers `text/plain` or OpenMetrics.

    `kafka_topics` holds the number of records that Kafka has acknowledged, by topic.
    """
    snapshot = _snapshot(ingest, spool)
    if wants_prometheus(request.headers.get("accept")):
        return Response(exposition(snapshot), headers={"Content-Type": CONTENT_TYPE})
    return json_response(snapshot)


def _snapshot(ingest: IngestService, spool: Spool) -> dict[str, Any]:
    delivery, state = ingest.delivery, spool.state
    return ingest.metrics.snapshot(time.monotonic()) | {
        "kafka_topics": {topic: delivery.acknowledged[topic] for topic in KAFKA_TOPICS},
        "spooled_records": delivery.accounting.spooled,
        "replayed_records": delivery.accounting.replayed,
        "spool_pending": state.pending,
        "spool_bytes": state.size,
        "spool_files_set_aside": state.set_aside,
        "reconciliation_difference": delivery.balance().difference,
        "csv_rows_dropped": ingest.csv.dropped,
    }
