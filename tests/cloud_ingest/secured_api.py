"""An API with authentication on, for tests."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx

from cloud_ingest.access.registry import Registry
from tests.cloud_ingest.running import RunningApi

FORM = {"grant_type": "client_credentials"}


class SecuredApi:
    """A running API and the gateway `gw-1`, registered for `bracelet-001` and `bracelet-002`."""

    def __init__(self, api: RunningApi, secret: str, variables: dict[str, str]) -> None:
        self.api, self.secret, self.variables = api, secret, variables
        self.registry = Registry.open(Path(variables["API_GATEWAYS_FILE"]))

    def request_token(self, name: str = "gw-1", secret: str | None = None, **form: str) -> httpx.Response:
        return self.api.http.post(
            "/oauth/token", data=FORM | form, auth=(name, self.secret if secret is None else secret)
        )

    def token(self, name: str = "gw-1", secret: str | None = None, **form: str) -> str:
        return str(self.request_token(name, secret, **form).json()["access_token"])

    def post(
        self, document: Any, token: str | None = None, path: str = "/iot/measurements"
    ) -> httpx.Response:
        headers = {"Authorization": f"Bearer {token or self.token()}"}
        return self.api.http.post(path, json=document, headers=headers)

    def audit(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in Path(self.variables["API_AUDIT_FILE"]).read_text().splitlines()]
