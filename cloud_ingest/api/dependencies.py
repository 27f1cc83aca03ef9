"""FastAPI dependencies: the services a route uses, and the caller it admits.

Every dependency is a coroutine, although none of them waits: FastAPI runs a plain function on a thread, which
costs more than the rest of a small request.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, TypeVar, cast

from fastapi import Depends, Request

from cloud_ingest.access.authorizer import Authorizer
from cloud_ingest.access.permissions import ANYONE, Caller, Scope
from cloud_ingest.alarms.queries import AlarmQueries
from cloud_ingest.delivery.spool import Spool
from cloud_ingest.ingest.service import IngestService
from cloud_ingest.metrics.probes import Probe
from cloud_ingest.postgres.connection import DbExecutor
from cloud_ingest.recorder.status import RecorderView
from cloud_ingest.settings import Settings

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Services:
    """What the lifespan opens, kept as `app.state.services`. Routes take single ones as dependencies.

    Attributes:
        authorizer: None where authentication is off.
        database, recorder: None where no database is configured.
        executor: for the requests that open a connection to PostgreSQL of their own.
        started: start of this process, UTC.
    """

    settings: Settings
    started: datetime
    ingest: IngestService
    spool: Spool
    authorizer: Authorizer | None
    kafka: Probe
    database: Probe | None
    alarms: AlarmQueries
    recorder: RecorderView | None
    executor: DbExecutor


def services_of(request: Request) -> Services:
    """Return the services of the application that handles the request; for dependencies, not for routes."""
    return cast(Services, request.app.state.services)


def _service(select: Callable[[Services], T]) -> Callable[[Request], Awaitable[T]]:
    async def dependency(request: Request) -> T:
        return select(services_of(request))

    return dependency


SettingsDep = Annotated[Settings, Depends(_service(lambda services: services.settings))]
StartedDep = Annotated[datetime, Depends(_service(lambda services: services.started))]
IngestServiceDep = Annotated[IngestService, Depends(_service(lambda services: services.ingest))]
SpoolDep = Annotated[Spool, Depends(_service(lambda services: services.spool))]
AuthorizerDep = Annotated[Authorizer | None, Depends(_service(lambda services: services.authorizer))]
KafkaProbeDep = Annotated[Probe, Depends(_service(lambda services: services.kafka))]
DatabaseProbeDep = Annotated[Probe | None, Depends(_service(lambda services: services.database))]
AlarmQueriesDep = Annotated[AlarmQueries, Depends(_service(lambda services: services.alarms))]
RecorderViewDep = Annotated[RecorderView | None, Depends(_service(lambda services: services.recorder))]
DbExecutorDep = Annotated[DbExecutor, Depends(_service(lambda services: services.executor))]


@dataclass(frozen=True, slots=True)
class RequireScope:
    """Dependency that admits bearers of a token with this scope, and everyone where authentication is off."""

    scope: Scope

    async def __call__(self, request: Request) -> Caller:
        """Return the caller.

        Raises:
            ApiError: no valid token, a token without the scope, or too many requests.
        """
        authorizer = services_of(request).authorizer
        if authorizer is None:
            return ANYONE
        return authorizer.admit(request.headers.get("authorization"), client_address(request), self.scope)


def client_address(request: Request) -> str:
    """Return the address a request comes from; `?` where the server does not know it."""
    return request.client.host if request.client else "?"
