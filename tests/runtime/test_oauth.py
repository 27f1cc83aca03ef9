"""Tokens are requested once, renewed before they expire, and replaced once after a 401."""

from __future__ import annotations

import asyncio
from base64 import b64decode
from collections.abc import Awaitable, Callable
from urllib.parse import parse_qs

import httpx
import pytest

from runtime.oauth import ClientCredentials, TokenRequestFailed

TOKEN_URL = "https://api.example.org/oauth/token"

Post = Callable[[], Awaitable[httpx.Response]]


class TokenServer:
    """Issues tokens `t1`, `t2`, … and answers other requests with 200 where their token is in `valid`."""

    def __init__(self) -> None:
        self.issued = 0
        self.valid: set[str] = set()
        self.accepts_new_tokens = True
        self.seen: list[str] = []
        self.refusal: httpx.Response | None = None
        self.credentials = ""

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if request.url.path == "/oauth/token":
            self.credentials = b64decode(request.headers["Authorization"].removeprefix("Basic ")).decode()
            assert parse_qs(request.content.decode()) == {"grant_type": ["client_credentials"]}
            assert "Content-Encoding" not in request.headers
            if self.refusal:
                return self.refusal
            self.issued += 1
            if self.accepts_new_tokens:
                self.valid.add(f"t{self.issued}")
            return httpx.Response(200, json={"access_token": f"t{self.issued}", "expires_in": 600})
        token = request.headers["Authorization"].removeprefix("Bearer ")
        self.seen.append(token)
        return httpx.Response(200 if token in self.valid else 401)


@pytest.fixture
def clock() -> list[float]:
    return [1000.0]


@pytest.fixture
def secrets() -> list[str]:
    return ["secret"]


@pytest.fixture
def server() -> TokenServer:
    return TokenServer()


@pytest.fixture
def post(server: TokenServer, clock: list[float], secrets: list[str]) -> Post:
    auth = ClientCredentials("gw 1", lambda: secrets[-1], TOKEN_URL, lambda: clock[0])
    client = httpx.AsyncClient(
        base_url="https://api.example.org",
        auth=auth,
        headers={"Content-Encoding": "gzip"},
        transport=httpx.MockTransport(server),
    )
    return lambda: client.post("/iot/measurements", content=b"x")


async def test_token_is_requested_once_and_used_again(post: Post, server: TokenServer) -> None:
    for _ in range(3):
        assert (await post()).status_code == 200
    assert server.seen == ["t1", "t1", "t1"]
    assert server.credentials == "gw+1:secret"


async def test_token_is_renewed_before_it_expires(
    post: Post, server: TokenServer, clock: list[float], secrets: list[str]
) -> None:
    await post()
    secrets.append("replaced")
    clock[0] += 479
    await post()
    assert server.credentials == "gw+1:secret"
    clock[0] += 1
    await post()
    assert server.seen == ["t1", "t1", "t2"]
    assert server.credentials == "gw+1:replaced"


async def test_refused_token_is_replaced_once(post: Post, server: TokenServer) -> None:
    await post()
    server.valid.clear()
    assert (await post()).status_code == 200
    assert server.seen == ["t1", "t1", "t2"]


async def test_second_refusal_is_the_response(post: Post, server: TokenServer) -> None:
    server.accepts_new_tokens = False
    assert (await post()).status_code == 401
    assert server.seen == ["t1", "t2"]


@pytest.mark.parametrize(
    ("status", "body", "reason"),
    [
        (401, {"error": "invalid_client"}, r"no token: HTTP 401 \(invalid_client\)"),
        (503, None, "no token: HTTP 503"),
        (429, ["odd"], "no token: HTTP 429"),
        (302, None, "no token: HTTP 302"),
        (200, {"token": "x"}, "no token: the response does not contain one"),
        (200, None, "no token: the response does not contain one"),
    ],
)
async def test_missing_token_fails_the_request(
    post: Post, server: TokenServer, status: int, body: object, reason: str
) -> None:
    server.refusal = httpx.Response(status, json=body)
    with pytest.raises(TokenRequestFailed, match=f"^{reason}$") as failed:
        await post()
    assert (failed.value.response and failed.value.response.status_code) == (
        None if status == 200 else status
    )
    assert server.seen == []


async def test_failed_renewal_leaves_the_old_token_until_it_expires(
    post: Post, server: TokenServer, clock: list[float]
) -> None:
    await post()
    server.refusal = httpx.Response(503)
    clock[0] += 590
    assert (await post()).status_code == 200
    assert server.seen == ["t1", "t1"]
    clock[0] += 10
    with pytest.raises(TokenRequestFailed, match="HTTP 503"):
        await post()
    server.refusal = None
    assert (await post()).status_code == 200
    assert server.seen[-1] == "t2"


async def test_simultaneous_requests_all_succeed(post: Post) -> None:
    responses = await asyncio.gather(post(), post(), post())
    assert [response.status_code for response in responses] == [200, 200, 200]
