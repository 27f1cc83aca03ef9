"""The application: parts joined at start, taken apart at the end."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from cloud_ingest import API_VERSION
from cloud_ingest.auth import Tokens
from cloud_ingest.csv import MetricsCsv
from cloud_ingest.database import DatabaseProbe
from cloud_ingest.delivery import Delivery
from cloud_ingest.device_status import DeviceStatusGate
from cloud_ingest.errors import DatabaseAway, NotDurable, Unacceptable
from cloud_ingest.ingestion import Ingestion
from cloud_ingest.intake import Intake
from cloud_ingest.kafka_watch import KafkaProbe
from cloud_ingest.metrics import Metrics
from cloud_ingest.probes import Probe
from cloud_ingest.pseudonym_key import Pseudonyms, pseudonyms
from cloud_ingest.publisher import Publisher
from cloud_ingest.routes import erasures, health, measurements, metrics
from cloud_ingest.routes.documents import component_schemas
from cloud_ingest.routes.parts import Parts, refusal
from cloud_ingest.settings import Settings
from cloud_ingest.spool import Spool
from vitals.reading import plainly

log = logging.getLogger(__name__)

RETRY_AFTER_S = 5
KAFKA_AT_START_S = 2.0
"""How long a start waits for Kafka, so that the first readings need not take the spool."""

DESCRIPTION = """
Takes vital signs of children with sickle-cell disease from gateways and makes them durable before it answers.

Research and education software, not a medical device.
"""


def create_app(settings: Settings) -> FastAPI:
    """The application of some settings.

    Raises:
        InvalidSettings: the token file or the pseudonym key cannot be used.
    """
    tokens, hidden = Tokens.load(settings.token_file), pseudonyms(settings)

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with _parts(settings, tokens, hidden) as parts:
            app.state.parts = parts
            yield

    app = FastAPI(title="Kidjamo ingestion", version=API_VERSION, description=DESCRIPTION, lifespan=lifespan)
    for module in (measurements, health, metrics, erasures):
        app.include_router(module.router)
    _refuse_in_one_form(app)
    _describe(app)
    return app


@contextlib.asynccontextmanager
async def _parts(settings: Settings, tokens: Tokens, hidden: Pseudonyms) -> AsyncIterator[Parts]:
    spool = Spool(settings.spool_path, settings.spool_max_mb * 2**20)
    publisher = Publisher(settings.kafka)
    csv = MetricsCsv(settings.metrics_csv, settings.metrics_csv_max_mb * 2**20)
    kafka = Probe("Kafka", KafkaProbe(settings.kafka))
    database = Probe("PostgreSQL", DatabaseProbe(settings)) if settings.pg_host else None
    probes = [kafka, database] if database else [kafka]
    for probe in probes:
        probe.start()
    await asyncio.to_thread(kafka.wait_for_answer, KAFKA_AT_START_S)
    delivery = Delivery(publisher, spool, kafka.silence)
    ingestion = Ingestion(Intake(hidden, DeviceStatusGate()), delivery, Metrics(time.monotonic()), csv)
    replay = asyncio.create_task(delivery.run(), name="replay")
    try:
        yield Parts(ingestion, spool, tokens, kafka, database, settings)
    finally:
        replay.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await replay
        await delivery.close()
        for close in (*(probe.stop for probe in probes), publisher.close, csv.close, spool.close):
            await asyncio.to_thread(close)
        log.info("drained and closed")


def _refuse_in_one_form(app: FastAPI) -> None:
    @app.exception_handler(Unacceptable)
    async def unacceptable(_request: Request, error: Unacceptable) -> Response:
        headers = {"Connection": "close"} if error.status == 413 else None
        return refusal(error.status, error.code, str(error), headers)

    @app.exception_handler(NotDurable)
    async def not_durable(_request: Request, error: NotDurable) -> Response:
        log.error("503: %s", error)
        return refusal(503, "not_durable", str(error), {"Retry-After": str(RETRY_AFTER_S)})

    @app.exception_handler(DatabaseAway)
    async def database_away(_request: Request, error: DatabaseAway) -> Response:
        log.warning("503: %s", error)
        return refusal(503, "database_away", str(error), {"Retry-After": str(RETRY_AFTER_S)})

    @app.exception_handler(RequestValidationError)
    async def unusable(_request: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        return refusal(422, "invalid", plainly(first["type"], first["msg"]), field=str(first["loc"][-1]))

    @app.exception_handler(HTTPException)
    async def http(_request: Request, error: HTTPException) -> Response:
        codes = {401: "unauthorized", 404: "not_found", 405: "method_not_allowed", 408: "timeout"}
        code = codes.get(error.status_code, "refused")
        return refusal(error.status_code, code, str(error.detail), dict(error.headers or {}))

    @app.exception_handler(ClientDisconnect)
    async def disconnected(_request: Request, _error: ClientDisconnect) -> Response:
        return refusal(400, "disconnected", "the sender went away before the body was complete")

    @app.exception_handler(Exception)
    async def internal(_request: Request, _error: Exception) -> Response:
        return refusal(500, "internal", "an error of ours; keep the reading and send it again")


def _describe(app: FastAPI) -> None:
    """Add the schemas of the bodies that routes parse themselves."""
    generated = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            schemas = generated()["components"]["schemas"]
            for name, schema in component_schemas().items():
                schemas.setdefault(name, schema)
        return app.openapi_schema or {}

    app.openapi = openapi  # type: ignore[method-assign]
