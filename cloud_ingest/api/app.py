"""The application: parts joined at start, taken apart at the end."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from typing import Any

from fastapi import APIRouter, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from cloud_ingest import API_VERSION
from cloud_ingest.access.audit import Action, Audit
from cloud_ingest.access.authorizer import Guard
from cloud_ingest.access.registry import Registry
from cloud_ingest.access.signing_keys import SigningKeys
from cloud_ingest.access.tokens import Tokens
from cloud_ingest.alarms.queries import AlarmRegister
from cloud_ingest.api.dependencies import Parts
from cloud_ingest.api.middleware import RETRY_AFTER_S, Entrance, SameMachine
from cloud_ingest.api.openapi import secured
from cloud_ingest.api.responses import refusal
from cloud_ingest.api.routes import (
    alarms,
    erasures,
    health,
    heartbeat,
    measurements,
    metrics,
    oauth,
    reconciliation,
)
from cloud_ingest.api.schemas import component_schemas
from cloud_ingest.delivery.delivery import Delivery
from cloud_ingest.delivery.spool import Spool
from cloud_ingest.errors import DatabaseAway, NotDurable, OAuthRefused, Unacceptable
from cloud_ingest.ingest.device_status import DeviceStatusGate
from cloud_ingest.ingest.processor import Intake
from cloud_ingest.ingest.service import Ingestion
from cloud_ingest.kafka.admin import KafkaProbe
from cloud_ingest.kafka.producer import Publisher
from cloud_ingest.metrics.counters import Metrics
from cloud_ingest.metrics.csv_log import MetricsCsv
from cloud_ingest.metrics.probes import Probe
from cloud_ingest.postgres.connection import DatabaseProbe
from cloud_ingest.privacy.pseudonyms import Pseudonyms, pseudonyms
from cloud_ingest.recorder.status import RecorderView
from cloud_ingest.settings import Settings
from vitals.reading import error_text

log = logging.getLogger(__name__)

KAFKA_AT_START_S = 2.0
"""How long a start waits for Kafka, so that the first readings need not take the spool."""

DESCRIPTION = """
Takes vital signs of children with sickle-cell disease from gateways and makes them durable before it answers.

Research and education software, not a medical device.
"""


def create_app(settings: Settings) -> FastAPI:
    """The application of some settings.

    Raises:
        InvalidSettings: the registry of gateways, a signing key or the pseudonym key cannot be used.
    """
    guard, hidden = _guard(settings), pseudonyms(settings, first_start=True)

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with _parts(settings, guard, hidden) as parts:
            app.state.parts = parts
            yield

    app = FastAPI(title="Kidjamo ingestion", version=API_VERSION, description=DESCRIPTION, lifespan=lifespan)
    modules = (measurements, heartbeat, alarms, erasures, health, metrics, reconciliation)
    routers = [each.router for each in modules]
    for router in [*routers, oauth.router] if guard else routers:
        app.include_router(router)
    app.add_middleware(Entrance)
    if guard is None:
        app.add_middleware(SameMachine)
    _refuse_in_one_form(app)
    _describe(app, guarded=routers if guard else [])
    return app


def _guard(settings: Settings) -> Guard | None:
    """The door, where there is one."""
    if settings.auth == "off":
        return None
    registry, keys = Registry.open(settings.gateways_file), SigningKeys.of(settings)
    audit = Audit(settings.audit_file)
    if not keys.all():
        audit.write(Action.KEY_MADE, kid=keys.make().kid)
    if not registry.all():
        log.warning("no gateway is registered yet: kidjamo-ingest gateway add")
    return Guard(registry, Tokens(keys, settings.token_lifetime_s), audit, settings.rate_limit)


@contextlib.asynccontextmanager
async def _parts(settings: Settings, guard: Guard | None, hidden: Pseudonyms) -> AsyncIterator[Parts]:
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
    ingestion = Ingestion(Intake(hidden, DeviceStatusGate()), delivery, Metrics(time.monotonic()), csv, guard)
    register = AlarmRegister(settings, database)
    replay = asyncio.create_task(delivery.run(), name="replay")
    try:
        recorder, began = RecorderView(settings) if database else None, datetime.now(UTC)
        yield Parts(ingestion, spool, guard, kafka, database, register, recorder, began, settings)
    finally:
        replay.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await replay
        await delivery.close()
        for close in (
            *(probe.stop for probe in probes),
            publisher.close,
            csv.close,
            spool.close,
            register.close,
        ):
            await asyncio.to_thread(close)
        log.info("drained and closed")


def _refuse_in_one_form(app: FastAPI) -> None:
    @app.exception_handler(Unacceptable)
    async def unacceptable(_request: Request, error: Unacceptable) -> Response:
        return refusal(error.status, error.code, str(error), dict(error.headers), error.field)

    @app.exception_handler(OAuthRefused)
    async def no_token(_request: Request, error: OAuthRefused) -> Response:
        return oauth.refused(error)

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
        return refusal(422, "invalid", error_text(first["type"], first["msg"]), field=str(first["loc"][-1]))

    @app.exception_handler(HTTPException)
    async def http(_request: Request, error: HTTPException) -> Response:
        codes = {403: "forbidden", 404: "not_found", 405: "method_not_allowed", 408: "timeout"}
        code = codes.get(error.status_code, "refused")
        return refusal(error.status_code, code, str(error.detail), dict(error.headers or {}))

    @app.exception_handler(ClientDisconnect)
    async def disconnected(_request: Request, _error: ClientDisconnect) -> Response:
        return refusal(400, "disconnected", "the sender went away before the body was complete")

    @app.exception_handler(Exception)
    async def internal(_request: Request, _error: Exception) -> Response:
        return refusal(500, "internal", "an error of ours; keep the reading and send it again")


def _describe(app: FastAPI, *, guarded: Sequence[APIRouter]) -> None:
    """Add the schemas of the bodies that routes parse themselves, and how to get in."""
    generated = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            schemas = generated()["components"]["schemas"]
            for name, schema in component_schemas().items():
                schemas.setdefault(name, schema)
            if guarded and app.openapi_schema:
                routes = [route for router in guarded for route in router.routes]
                app.openapi_schema |= secured(app.openapi_schema, routes)
        return app.openapi_schema or {}

    app.openapi = openapi  # type: ignore[method-assign]
