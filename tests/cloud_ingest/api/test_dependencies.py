"""Dependencies of the routes: none runs on a thread, and no route gets the container of the services."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import get_type_hints

from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute

from cloud_ingest.api.dependencies import Services
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

MODULES = (alarms, erasures, health, heartbeat, measurements, metrics, oauth, reconciliation)
ROUTES = [route for module in MODULES for route in module.router.routes if isinstance(route, APIRoute)]


def _calls(dependant: Dependant) -> Iterator[object]:
    for dependency in dependant.dependencies:
        yield dependency.call
        yield from _calls(dependency)


def test_every_dependency_is_a_coroutine() -> None:
    """FastAPI runs any other on a thread, which costs more than the rest of a small request."""
    calls = [call for route in ROUTES for call in _calls(route.dependant)]
    assert len(calls) > 20
    for call in calls:
        assert inspect.iscoroutinefunction(call) or inspect.iscoroutinefunction(type(call).__call__)


def test_no_route_takes_the_container_of_the_services() -> None:
    assert len(ROUTES) == 13
    for route in ROUTES:
        assert Services not in get_type_hints(route.endpoint).values()
