"""Additions to the generated OpenAPI document: bodies that routes parse themselves, and scopes of routes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.routing import APIRoute
from starlette.routing import BaseRoute

from cloud_ingest.access.permissions import Scope
from cloud_ingest.api.dependencies import RequireScope
from cloud_ingest.api.routes.oauth import TOKEN_PATH
from cloud_ingest.api.schemas import component_schemas

SCHEME = "gateway"
_DESCRIPTIONS = {
    Scope.READINGS_WRITE: "Send readings",
    Scope.ERRORS_WRITE: "Send dead letters",
    Scope.METRICS_READ: "Read the counters",
    Scope.ALARMS_READ: "Read the open alarms",
    Scope.ALARMS_WRITE: "Acknowledge alarms",
    Scope.PATIENTS_ERASE: "Request the erasure of a child",
}


def extend_openapi(app: FastAPI, *, secured: Sequence[APIRouter]) -> None:
    """Make the application add the schemas of bodies that routes parse themselves, and the scopes.

    Args:
        secured: routers whose routes need a token; none where authentication is off.
    """
    generate = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            schemas = generate()["components"]["schemas"]
            for name, schema in component_schemas().items():
                schemas.setdefault(name, schema)
            if secured and app.openapi_schema:
                routes = [route for router in secured for route in router.routes]
                app.openapi_schema |= _with_security(app.openapi_schema, routes)
        return app.openapi_schema or {}

    app.openapi = openapi  # type: ignore[method-assign]


def _with_security(document: dict[str, Any], routes: Iterable[BaseRoute]) -> dict[str, Any]:
    flow = {"tokenUrl": TOKEN_PATH, "scopes": {scope.value: _DESCRIPTIONS[scope] for scope in Scope}}
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
    calls = (dependency.call for dependency in route.dependant.dependencies)
    return [call.scope.value for call in calls if isinstance(call, RequireScope)]
