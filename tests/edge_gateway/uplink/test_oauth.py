"""Tokens are fetched before they are needed, once after a refusal, and never with a secret that is none."""

from __future__ import annotations

import asyncio
from base64 import b64decode
from collections.abc import Callable
from pathlib import Path
from urllib.parse import parse_qs

import httpx
import pytest

from edge_gateway.errors import DeliveryFailed
from edge_gateway.uplink.oauth import ClientCredentials

TOKEN_URL = "https://api.example.org/oauth/token"
SECRET = "q1w2e3r4t5z6u7i8o9p0a1s2d3f4g5h6j7k8l9y0x1c"


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


class Service:
    """Tokens `t1`, `t2`, … and a route that takes those in `good`."""

    def __init__(self) -> None:
        self.issued = 0
        self.good: set[str] = set()
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
            self.good.add(f"t{self.issued}")
            return httpx.Response(200, json={"access_token": f"t{self.issued}", "expires_in": 600})
        token = request.headers["Authorization"].removeprefix("Bearer ")
        self.seen.append(token)
        return httpx.Response(200 if token in self.good else 401)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def service() -> Service:
    return Service()


@pytest.fixture
def secret_file(tmp_path: Path) -> Path:
    (tmp_path / "secret").write_text(SECRET + "\n")
    return tmp_path / "secret"


@pytest.fixture
def post(service: Service, clock: Clock, secret_file: Path) -> Callable[[], object]:
    auth = ClientCredentials("gw 1", secret_file, TOKEN_URL, clock)
    client = httpx.AsyncClient(
        base_url="https://api.example.org",
        auth=auth,
        headers={"Content-Encoding": "gzip"},
        transport=httpx.MockTransport(service),
    )
    return lambda: client.post("/iot/measurements", content=b"x")


def spoil(file: Path, content: str | None) -> None:
    file.unlink()
    if content is not None:
        file.write_text(content)


Post = Callable[[], "asyncio.Future[httpx.Response]"]


async def test_a_token_is_fetched_once_and_used_again(post: Post, service: Service) -> None:
    for _ in range(3):
        assert (await post()).status_code == 200
    assert service.seen == ["t1", "t1", "t1"]
    assert service.credentials == f"gw+1:{SECRET}"


async def test_a_token_is_renewed_before_it_runs_out(post: Post, service: Service, clock: Clock) -> None:
    await post()
    clock.now += 479
    await post()
    clock.now += 1
    await post()
    assert service.seen == ["t1", "t1", "t2"]


async def test_a_refused_token_is_replaced_once(post: Post, service: Service) -> None:
    await post()
    service.good.clear()
    assert (await post()).status_code == 200
    assert service.seen == ["t1", "t1", "t2"]


async def test_two_refusals_are_an_answer(post: Post, service: Service) -> None:
    class Nothing(set[str]):
        def add(self, _token: str) -> None:
            pass

    service.good = Nothing()
    assert (await post()).status_code == 401
    assert service.seen == ["t1", "t2"]


@pytest.mark.parametrize(
    ("status", "body", "says"),
    [
        (401, {"error": "invalid_client"}, r"HTTP 401 \(invalid_client\)"),
        (503, None, "HTTP 503"),
        (429, ["odd"], "HTTP 429"),
        (200, {"token": "x"}, "does not hold one"),
        (200, None, "does not hold one"),
        (302, None, "HTTP 302"),
    ],
)
async def test_no_token_is_the_same_as_an_api_that_is_away(
    post: Post, service: Service, status: int, body: object, says: str
) -> None:
    service.refusal = httpx.Response(status, json=body, headers={"Retry-After": "7"})
    with pytest.raises(DeliveryFailed, match=says) as failed:
        await post()
    assert failed.value.retry_after_s == (None if status == 200 else 7)
    assert service.seen == []


async def test_a_renewal_that_fails_leaves_the_old_token_until_its_end(
    post: Post, service: Service, clock: Clock
) -> None:
    await post()
    service.refusal = httpx.Response(503)
    clock.now += 590
    assert (await post()).status_code == 200
    assert service.seen == ["t1", "t1"]
    clock.now += 10
    with pytest.raises(DeliveryFailed, match="HTTP 503"):
        await post()
    service.refusal = None
    assert (await post()).status_code == 200
    assert service.seen[-1] == "t2"


@pytest.mark.parametrize(
    ("content", "says"), [("", "does not hold"), ("changeme", "does not hold"), (None, "No such")]
)
async def test_a_secret_that_is_none_is_never_sent(
    post: Post, service: Service, secret_file: Path, content: str | None, says: str
) -> None:
    spoil(secret_file, content)
    with pytest.raises(DeliveryFailed, match=says):
        await post()
    assert (service.credentials, service.seen) == ("", [])


async def test_two_lanes_at_once_both_get_through(post: Post, service: Service) -> None:
    answers = await asyncio.gather(post(), post(), post())
    assert [answer.status_code for answer in answers] == [200, 200, 200]
