"""The gateway's secret is read from its file, and a missing token is a failed delivery."""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx
import pytest

from edge_gateway.config import ApiConfig
from edge_gateway.errors import DeliveryFailed
from edge_gateway.uplink.oauth import credentials_of

SECRET = "q1w2e3r4t5z6u7i8o9p0a1s2d3f4g5h6j7k8l9y0x1c"


CREDENTIALS = "Basic Z3ctMTpxMXcyZTNyNHQ1ejZ1N2k4bzlwMGExczJkM2Y0ZzVoNmo3azhsOXkweDFj"
"""Of `gw-1` and this secret."""


class ApiWithTokens:
    """An API with one token, `t1`, unless its token endpoint is given another response."""

    def __init__(self) -> None:
        self.token_response = httpx.Response(200, json={"access_token": "t1", "expires_in": 600})
        self.requests: list[tuple[str, str]] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        authorization = request.headers["Authorization"]
        self.requests.append((request.url.path, authorization))
        if request.url.path == "/oauth/token":
            return self.token_response
        return httpx.Response(200 if authorization == "Bearer t1" else 401)

    async def post(self, secret_file: Path) -> httpx.Response:
        config = ApiConfig(url="https://api.example.org", client_id="gw-1", client_secret_file=secret_file)
        auth, transport = credentials_of(config), httpx.MockTransport(self)
        async with httpx.AsyncClient(base_url=config.url, auth=auth, transport=transport) as client:
            return await client.post("/iot/measurements", content=b"x")


@pytest.fixture
def secret_file(tmp_path: Path) -> Path:
    (tmp_path / "secret").write_text(SECRET + "\n")
    return tmp_path / "secret"


async def test_secret_of_the_file_gets_a_token(secret_file: Path) -> None:
    api = ApiWithTokens()
    assert (await api.post(secret_file)).status_code == 200
    assert api.requests == [("/oauth/token", CREDENTIALS), ("/iot/measurements", "Bearer t1")]


def test_configuration_without_client_id_has_no_credentials() -> None:
    assert credentials_of(ApiConfig(url="https://api.example.org")) is None


@pytest.mark.parametrize(
    ("status", "body", "reason", "retry_after_s"),
    [
        (401, {"error": "invalid_client"}, r"no token: HTTP 401 \(invalid_client\)", 7),
        (503, None, "no token: HTTP 503", 7),
        (200, {"token": "x"}, "no token: the response does not contain one", None),
    ],
)
async def test_missing_token_is_a_failed_delivery(
    secret_file: Path, status: int, body: object, reason: str, retry_after_s: float | None
) -> None:
    api = ApiWithTokens()
    api.token_response = httpx.Response(status, json=body, headers={"Retry-After": "7"})
    with pytest.raises(DeliveryFailed, match=reason) as failed:
        await api.post(secret_file)
    assert failed.value.retry_after_s == retry_after_s


@pytest.mark.parametrize(
    ("content", "reason"), [("", "does not hold"), ("changeme", "does not hold"), (None, "No such")]
)
async def test_unusable_secret_is_never_sent(tmp_path: Path, content: str | None, reason: str) -> None:
    secret_file, api = tmp_path / "unusable", ApiWithTokens()
    if content is not None:
        await asyncio.to_thread(secret_file.write_text, content)
    with pytest.raises(DeliveryFailed, match=reason):
        await api.post(secret_file)
    assert api.requests == []
