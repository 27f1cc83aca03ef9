"""The FastAPI application: services opened at start, routes, middleware, and an orderly shutdown."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime

from fastapi import FastAPI

from cloud_ingest import API_VERSION
from cloud_ingest.access.audit import Action, AuditLog
from cloud_ingest.access.authorizer import Authorizer
from cloud_ingest.access.registry import Registry
from cloud_ingest.access.signing_keys import SigningKeys
from cloud_ingest.access.tokens import Tokens
from cloud_ingest.alarms.queries import AlarmQueries
from cloud_ingest.api.dependencies import Services
from cloud_ingest.api.error_handlers import add_error_handlers
from cloud_ingest.api.middleware import ConcurrencyLimit, LocalRequestsOnly, StartupErrors
from cloud_ingest.api.openapi import extend_openapi
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
from cloud_ingest.delivery.delivery import Delivery
from cloud_ingest.delivery.spool import Spool
from cloud_ingest.ingest.device_status import DeviceStatusGate
from cloud_ingest.ingest.processor import ReadingProcessor
from cloud_ingest.ingest.service import IngestService
from cloud_ingest.kafka.admin import KafkaProbe
from cloud_ingest.kafka.producer import Publisher
from cloud_ingest.metrics.counters import Metrics
from cloud_ingest.metrics.csv_log import MetricsCsv
from cloud_ingest.metrics.probes import Probe
from cloud_ingest.postgres.connection import DatabaseProbe, DbExecutor
from cloud_ingest.privacy.pseudonyms import Pseudonyms, pseudonyms
from cloud_ingest.recorder.status import RecorderView
from cloud_ingest.settings import Settings

log = logging.getLogger(__name__)

KAFKA_STARTUP_TIMEOUT_S = 2.0
"""How long the start waits for Kafka, so that the first readings do not go to the spool."""
_DB_TIMEOUT_S = 8.0

DESCRIPTION = """
Receives vital signs of children with sickle-cell disease and makes them durable before it answers.

Research and education software, not a medical device.
"""


def create_app(settings: Settings) -> FastAPI:
    """Return the application for these settings.

    Raises:
        InvalidSettings: the registry of gateways, a signing key or the pseudonym key cannot be used.
    """
    authorizer, patient_pseudonyms = _authorizer(settings), pseudonyms(settings, first_start=True)

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with _open_services(settings, authorizer, patient_pseudonyms) as services:
            app.state.services = services
            yield

    app = FastAPI(title="Kidjamo ingestion", version=API_VERSION, description=DESCRIPTION, lifespan=lifespan)
    modules = (measurements, heartbeat, alarms, erasures, health, metrics, reconciliation)
    routers = [module.router for module in modules]
    for router in [*routers, oauth.router] if authorizer else routers:
        app.include_router(router)
    app.add_middleware(ConcurrencyLimit)
    if authorizer is None:
        app.add_middleware(LocalRequestsOnly)
    app.add_middleware(StartupErrors)
    add_error_handlers(app)
    extend_openapi(app, secured=routers if authorizer else [])
    return app


def _authorizer(settings: Settings) -> Authorizer | None:
    """Return the authorizer; None where authentication is off."""
    if settings.auth == "off":
        return None
    registry, keys = Registry.open(settings.gateways_file), SigningKeys.of(settings)
    audit = AuditLog(settings.audit_file)
    if not keys.all():
        audit.write(Action.KEY_MADE, kid=keys.make().kid)
    if not registry.all():
        log.warning("no gateway is registered yet: kidjamo-ingest gateway add")
    return Authorizer(registry, Tokens(keys, settings.token_lifetime_s), audit, settings.rate_limit)


@contextlib.asynccontextmanager
async def _open_services(
    settings: Settings, authorizer: Authorizer | None, patient_pseudonyms: Pseudonyms
) -> AsyncIterator[Services]:
    spool = Spool(settings.spool_path, settings.spool_max_mb * 2**20)
    publisher = Publisher(settings.kafka)
    csv = MetricsCsv(settings.metrics_csv, settings.metrics_csv_max_mb * 2**20)
    kafka = Probe("Kafka", KafkaProbe(settings.kafka))
    database = Probe("PostgreSQL", DatabaseProbe(settings)) if settings.pg_host else None
    probes = [kafka, database] if database else [kafka]
    for probe in probes:
        probe.start()
    await asyncio.to_thread(kafka.wait_for_answer, KAFKA_STARTUP_TIMEOUT_S)
    delivery = Delivery(publisher, spool, kafka.silence)
    processor = ReadingProcessor(patient_pseudonyms, DeviceStatusGate())
    alarm_queries = AlarmQueries(settings, database)
    replay = asyncio.create_task(delivery.run(), name="replay")
    try:
        yield Services(
            settings=settings,
            started=datetime.now(UTC),
            ingest=IngestService(processor, delivery, Metrics(time.monotonic()), csv, authorizer),
            spool=spool,
            authorizer=authorizer,
            kafka=kafka,
            database=database,
            alarms=alarm_queries,
            recorder=RecorderView(settings) if database else None,
            executor=DbExecutor("requests", _DB_TIMEOUT_S),
        )
    finally:
        replay.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await replay
        await delivery.close()
        stop_probes = [probe.stop for probe in probes]
        for close in (*stop_probes, publisher.close, csv.close, spool.close, alarm_queries.close):
            await asyncio.to_thread(close)
        log.info("drained and closed")
