"""What a web page in a browser on this machine can make of an API without authentication: nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

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
def test_a_web_page_is_refused(api: RunningApi, header: str, value: str) -> None:
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
def test_this_machine_is_let_in(api: RunningApi, header: str, value: str) -> None:
    assert api.http.post("/iot/measurements", json=reading(), headers={header: value}).status_code == 200


def test_a_page_that_has_a_token_is_let_in(tmp_path: Path) -> None:
    with RunningApi(environment(tmp_path, NOWHERE, API_AUTH="on")) as api:
        headers = {"Host": "api.example.org", "Origin": "https://ward.example.org"}
        assert api.http.get("/health", headers=headers).status_code == 200
