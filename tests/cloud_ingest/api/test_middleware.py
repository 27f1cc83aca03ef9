"""Middleware: local requests only, the concurrency limit, and start-up errors."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.types import Message

from cloud_ingest.api.middleware import StartupErrors
from cloud_ingest.errors import SpoolUnavailable
from tests.cloud_ingest.running import NOWHERE, RunningApi, environment
from tests.cloud_ingest.samples import reading


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningApi]:
    with RunningApi(environment(tmp_path_factory.mktemp("api"), NOWHERE)) as running:
        yield running


@pytest.mark.parametrize(
    ("header", "value"),
    [
        ("Origin", "https://evil.example"),
        ("Origin", "http://localhost.evil.example:8001"),
        ("Origin", "http://evil.example@127.0.0.2.evil.example"),
        ("Origin", "http://192.168.1.20:8001"),
        ("Origin", "null"),
        ("Origin", ""),
        ("Origin", "http://[::1"),
        ("Host", "evil.example"),
        ("Host", "evil.example:8001"),
        ("Host", "127.0.0.1.evil.example"),
        ("Host", "0.0.0.0:8001"),
        ("Host", "192.168.1.20"),
        ("Host", "[::1"),
        ("Host", ""),
    ],
)
def test_request_of_a_foreign_web_page_is_refused(api: RunningApi, header: str, value: str) -> None:
    before = api.component("spool")["pending"]
    answer = api.http.post("/iot/measurements", json=reading(), headers={header: value})
    assert answer.status_code == 403
    assert answer.json() == {
        "error": "forbidden",
        "field": header.lower(),
        "reason": "without authentication the API answers this machine only",
    }
    assert api.http.get("/metrics", headers={header: value}).status_code == 403
    assert api.component("spool")["pending"] == before


@pytest.mark.parametrize(
    ("header", "value"),
    [
        ("Origin", "http://localhost:3000"),
        ("Origin", "http://127.0.0.1:8001"),
        ("Host", "localhost"),
        ("Host", "LOCALHOST:8001"),
        ("Host", "127.0.0.2:8001"),
        ("Host", "[::1]:8001"),
    ],
)
def test_request_of_this_machine_is_accepted(api: RunningApi, header: str, value: str) -> None:
    assert api.http.post("/iot/measurements", json=reading(), headers={header: value}).status_code == 200


def test_foreign_host_and_origin_are_accepted_with_authentication_on(tmp_path: Path) -> None:
    with RunningApi(environment(tmp_path, NOWHERE, API_AUTH="on")) as api:
        headers = {"Host": "api.example.org", "Origin": "https://ward.example.org"}
        assert api.http.get("/health", headers=headers).status_code == 200


async def start_with(error: Exception) -> Message:
    """Start an application that fails; return the message its server gets."""

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        raise error
        yield

    async def receive() -> Message:
        return {"type": "lifespan.startup"}

    async def send(message: Message) -> None:
        sent.append(message)

    sent: list[Message] = []
    with pytest.raises(type(error)):
        await StartupErrors(Starlette(lifespan=lifespan))({"type": "lifespan"}, receive, send)
    (failure,) = sent
    assert failure["type"] == "lifespan.startup.failed"
    return failure


async def test_expected_startup_error_is_reported_without_a_traceback() -> None:
    failure = await start_with(SpoolUnavailable("SPOOL_PATH data: another process\nuses: this spool"))
    assert failure["message"] == "SPOOL_PATH data: another process\nuses: this spool"


async def test_unexpected_startup_error_keeps_its_traceback() -> None:
    failure = await start_with(RuntimeError("cloud_ingest.errors.SpoolUnavailable: x"))
    assert "Traceback" in failure["message"]
    assert "RuntimeError" in failure["message"]
