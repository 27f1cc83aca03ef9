"""Connections whose headers are late, endless or missing, and many of them at once."""

from __future__ import annotations

import asyncio
import inspect
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest
import uvicorn
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from cloud_ingest.api import http_protocol, middleware
from cloud_ingest.api.middleware import ConcurrencyLimit
from tests.cloud_ingest.running import NOWHERE, RunningApi, ServedApi, environment
from tests.cloud_ingest.samples import reading

PARTIAL_HEADERS = b"POST /iot/measurements HTTP/1.1\r\nHost: localhost\r\nContent-Le"
COMPLETE = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"


@pytest.fixture
def api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RunningApi]:
    monkeypatch.setattr(http_protocol, "HEADERS_TIMEOUT_S", 0.5)
    with RunningApi(environment(tmp_path, NOWHERE)) as running:
        yield running


def connect(url: httpx.URL | str) -> socket.socket:
    parsed = httpx.URL(url)
    connection = socket.create_connection((parsed.host, parsed.port or 80), timeout=10)
    connection.settimeout(10)
    return connection


def until_closed(connection: socket.socket) -> bytes:
    received = b""
    while chunk := connection.recv(65536):
        received += chunk
    return received


def test_uvicorn_has_the_undocumented_names_that_are_used() -> None:
    """They are those of uvicorn 0.54. Where one is missing, adapt `http_protocol` and `server`."""
    signatures = {
        "connection_made": ["self", "transport"],
        "connection_lost": ["self", "exc"],
        "data_received": ["self", "data"],
        "on_message_begin": ["self"],
        "on_headers_complete": ["self"],
    }
    for name, parameters in signatures.items():
        assert list(inspect.signature(getattr(HttpToolsProtocol, name)).parameters) == parameters
    assert {"loop", "transport"} <= set(HttpToolsProtocol.__init__.__code__.co_names)
    assert list(inspect.signature(uvicorn.Server.startup).parameters) == ["self", "sockets"]
    assert inspect.iscoroutinefunction(uvicorn.Server.startup)


@pytest.mark.parametrize("sent", [b"", PARTIAL_HEADERS], ids=["nothing", "partial headers"])
def test_connection_without_complete_headers_is_closed(api: RunningApi, sent: bytes) -> None:
    with connect(api.http.base_url) as idle:
        idle.sendall(sent)
        assert until_closed(idle) == b""


def test_endless_headers_close_the_connection(api: RunningApi) -> None:
    with connect(api.http.base_url) as endless:
        endless.sendall(b"GET /health HTTP/1.1\r\nX: ")

        def send_on() -> None:
            for _ in range(1000):
                endless.sendall(b"a" * 2**16)

        with pytest.raises(ConnectionError):
            send_on()


def test_second_request_without_complete_headers_closes_the_connection(api: RunningApi) -> None:
    with connect(api.http.base_url) as client:
        client.sendall(COMPLETE + PARTIAL_HEADERS)
        assert until_closed(client).startswith(b"HTTP/1.1 200 OK")


def test_slow_body_is_not_limited_by_the_headers_timeout(api: RunningApi) -> None:
    with connect(api.http.base_url) as slow:
        slow.sendall(b"POST /iot/measurements HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{")
        time.sleep(1)
        slow.sendall(b"}")
        assert slow.recv(65536).startswith(b"HTTP/1.1 422")


def test_hundreds_of_idle_connections_do_not_block_others(tmp_path: Path) -> None:
    with ServedApi(environment(tmp_path, NOWHERE), tmp_path) as served, ExitStack() as idle:
        for _ in range(600):
            idle.enter_context(connect(served.url)).sendall(PARTIAL_HEADERS)
        assert served.http.get("/health").status_code == 200
        assert served.http.post("/iot/measurements", json=reading()).status_code == 200
        assert served.stop() == 0


async def test_requests_above_the_concurrency_limit_get_503_with_retry_after(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(middleware, "MAX_CONCURRENT", 1)
    done = asyncio.Event()

    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] != "/health":
            await done.wait()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    transport = httpx.ASGITransport(ConcurrencyLimit(slow))
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
