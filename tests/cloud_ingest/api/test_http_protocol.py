"""Connections that say nothing, or too little, and many of them at once."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest
from starlette.types import Receive, Scope, Send

from cloud_ingest.api import http_protocol, middleware
from cloud_ingest.api.middleware import Entrance
from tests.cloud_ingest.running import NOWHERE, RunningApi, ServedApi, environment
from tests.cloud_ingest.samples import reading

HALF_A_HEAD = b"POST /iot/measurements HTTP/1.1\r\nHost: localhost\r\nContent-Le"
WHOLE = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"


@pytest.fixture
def api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RunningApi]:
    monkeypatch.setattr(http_protocol, "HEAD_WITHIN_S", 0.5)
    with RunningApi(environment(tmp_path, NOWHERE)) as running:
        yield running


def to(url: httpx.URL | str) -> socket.socket:
    parsed = httpx.URL(url)
    made = socket.create_connection((parsed.host, parsed.port or 80), timeout=10)
    made.settimeout(10)
    return made


def until_closed(connection: socket.socket) -> bytes:
    received = b""
    while chunk := connection.recv(65536):
        received += chunk
    return received


@pytest.mark.parametrize("sent", [b"", HALF_A_HEAD], ids=["nothing", "half a head"])
def test_connection_that_does_not_say_what_it_wants_is_closed(api: RunningApi, sent: bytes) -> None:
    with to(api.http.base_url) as quiet:
        quiet.sendall(sent)
        assert until_closed(quiet) == b""


def test_headers_without_end_are_not_kept(api: RunningApi) -> None:
    with to(api.http.base_url) as endless:
        endless.sendall(b"GET /health HTTP/1.1\r\nX: ")

        def send_on() -> None:
            for _ in range(1000):
                endless.sendall(b"a" * 2**16)

        with pytest.raises(ConnectionError):
            send_on()


def test_second_request_has_to_come_whole_as_well(api: RunningApi) -> None:
    with to(api.http.base_url) as once_good:
        once_good.sendall(WHOLE + HALF_A_HEAD)
        assert until_closed(once_good).startswith(b"HTTP/1.1 200 OK")


def test_slow_body_has_its_own_time(api: RunningApi) -> None:
    with to(api.http.base_url) as slow:
        slow.sendall(b"POST /iot/measurements HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{")
        time.sleep(1)
        slow.sendall(b"}")
        assert slow.recv(65536).startswith(b"HTTP/1.1 422")


def test_hundreds_of_idle_connections_take_nobodys_place(tmp_path: Path) -> None:
    with ServedApi(environment(tmp_path, NOWHERE), tmp_path) as served, ExitStack() as idle:
        for _ in range(600):
            idle.enter_context(to(served.url)).sendall(HALF_A_HEAD)
        assert served.http.get("/health").status_code == 200
        assert served.http.post("/iot/measurements", json=reading()).status_code == 200
        assert served.stop() == 0


async def test_more_requests_than_can_be_worked_on_are_told_when_to_come_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(middleware, "MOST", 1)
    done = asyncio.Event()

    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] != "/health":
            await done.wait()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    transport = httpx.ASGITransport(Entrance(slow))
    async with httpx.AsyncClient(transport=transport, base_url="http://api") as client:
        first = asyncio.create_task(client.get("/metrics"))
        await asyncio.sleep(0)
        refused = await client.get("/metrics")
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "5")
        assert refused.json()["error"] == "busy"
        assert (await client.get("/health")).status_code == 200
        done.set()
        assert (await first).status_code == 200
        assert (await client.get("/metrics")).status_code == 200
