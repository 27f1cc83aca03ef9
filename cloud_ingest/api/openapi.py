"""How the OpenAPI document says which token opens which route."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from fastapi.routing import APIRoute
from starlette.routing import BaseRoute

from cloud_ingest.access.permissions import Scope
from cloud_ingest.api.dependencies import Needs
from cloud_ingest.api.routes.oauth import TOKEN_PATH

SCHEME = "gateway"
_MEANING = {
    Scope.READINGS_WRITE: "Send readings",
    Scope.ERRORS_WRITE: "Send dead letters",
    Scope.METRICS_READ: "Read the counters",
    Scope.ALARMS_READ: "See which alarms stand",
    Scope.ALARMS_WRITE: "Acknowledge alarms",
    Scope.PATIENTS_ERASE: "Have a child erased",
}


def secured(document: dict[str, Any], routes: Iterable[BaseRoute]) -> dict[str, Any]:
    """The document with the scopes its routes need."""
    flow = {"tokenUrl": TOKEN_PATH, "scopes": {scope.value: _MEANING[scope] for scope in Scope}}
    scheme = {"type": "oauth2", "flows": {"clientCredentials": flow}}
    components = document["components"] | {"securitySchemes": {SCHEME: scheme}}
    paths = {path: dict(operations) for path, operations in document["paths"].items()}
    for route in routes:
        if isinstance(route, APIRoute) and (scopes := _scopes_of(route)):
            for method in route.methods or ():
                operation = paths[route.path][method.lower()]
                paths[route.path][method.lower()] = operation | {"security": [{SCHEME: scopes}]}
    return document | {"components": components, "paths": paths}


def _scopes_of(route: APIRoute) -> list[str]:
    return [each.call.scope.value for each in route.dependant.dependencies if isinstance(each.call, Needs)]
