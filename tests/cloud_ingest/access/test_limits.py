"""Limits on requests, failed token requests and audit entries."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from uuid import uuid4

import jwt
import pytest

from cloud_ingest.access.signing_keys import SigningKeys
from tests.cloud_ingest.running import NOWHERE, RunningApi, ServedApi, environment, register
from tests.cloud_ingest.samples import reading
from tests.cloud_ingest.secured_api import FORM, SecuredApi


def test_gateway_above_its_rate_gets_429_with_retry_after(tmp_path: Path) -> None:
    variables = environment(tmp_path, NOWHERE, API_AUTH="on", API_RATE_LIMIT="100")
    secrets = {name: register(variables, name) for name in ("gw-1", "gw-2")}
    with RunningApi(variables) as api:
        secured = SecuredApi(api, secrets["gw-1"], variables)
        token = secured.token()
        other = secured.token("gw-2", secrets["gw-2"])
        batch = {"readings": [reading() for _ in range(2000)]}
        assert secured.post(batch, token).json()["accepted"] == 2000
        answer = secured.post(reading(), token)
        assert (answer.status_code, answer.json()["error"]) == (429, "too_many")
        assert 3 <= int(answer.headers["retry-after"]) <= 12
        assert secured.post(reading(), other).status_code == 200, "another gateway has its own limit"


def test_decompression_bomb_is_charged_at_the_maximum_size(tmp_path: Path) -> None:
    variables = environment(tmp_path, NOWHERE, API_AUTH="on", API_RATE_LIMIT="1000")
    secret = register(variables, "gw-1")
    with RunningApi(variables) as api:
        token = SecuredApi(api, secret, variables).token()
        headers = {"Authorization": f"Bearer {token}", "Content-Encoding": "gzip"}
        bomb = gzip.compress(bytes(33 * 2**20))
        sent = [
            api.http.post("/iot/measurements", content=bomb, headers=headers).status_code for _ in range(2)
        ]
        assert sent == [413, 429]


def test_address_that_guesses_secrets_is_limited_without_affecting_others(secured: SecuredApi) -> None:
    token = secured.token()
    answers = [secured.request_token("gw-1", f"guess-{number}").status_code for number in range(25)]
    assert (answers[:20], answers[-1]) == ([401] * 20, 429)
    assert int(secured.request_token("gw-1", "guess").headers["retry-after"]) >= 1
    assert secured.post(reading(), token).status_code == 200
    assert secured.request_token().status_code == 200
    refused = [line for line in secured.audit() if line["action"] == "token_refused"]
    assert 20 <= len(refused) <= 22, "entries are limited"


@pytest.mark.parametrize(
    ("proxies", "seen"),
    [("", "127.0.0.1"), ("192.0.2.1", "127.0.0.1"), ("192.0.2.1, 127.0.0.0/8", "203.0.113.9")],
)
def test_client_cannot_forge_its_address(tmp_path: Path, proxies: str, seen: str) -> None:
    variables = environment(tmp_path, NOWHERE, API_AUTH="on", API_TRUSTED_PROXIES=proxies)
    variables["FORWARDED_ALLOW_IPS"] = "*"  # uvicorn's own variable has no effect
    with ServedApi(variables, tmp_path) as api:
        answers = [
            api.http.post(
                "/oauth/token",
                data=FORM,
                auth=("gw-1", "guess"),
                headers={"X-Forwarded-For": f"198.51.100.{number}, 203.0.113.9"},
            ).status_code
            for number in range(25)
        ]
        assert (answers[:20], answers[-1]) == ([401] * 20, 429)
    lines = [json.loads(line) for line in (tmp_path / "audit.jsonl").read_text().splitlines()]
    assert {line["address"] for line in lines if line["action"] == "token_refused"} == {seen}


def test_gateways_behind_one_address_all_get_401_for_revoked_tokens(secured: SecuredApi) -> None:
    token = secured.token()
    keys = SigningKeys.of(secured.api.settings)
    leaked, new = keys.signing().kid, keys.make().kid
    (Path(secured.variables["API_KEYS_DIR"]) / f"{leaked}.pem").unlink()
    for _ in range(60):
        refused = secured.post(reading(), token)
        assert refused.status_code == 401
        assert refused.headers["www-authenticate"].startswith('Bearer error="invalid_token"')
    assert secured.request_token("gw-1", "wrong").status_code == 401, "has its own limit"
    fresh = secured.token()
    assert jwt.get_unverified_header(fresh)["kid"] == new
    assert secured.post(reading(), fresh).status_code == 200
    entries = [line for line in secured.audit() if line["action"] == "access_refused"]
    assert 20 <= len(entries) <= 22, "entries are limited"


def test_audit_entries_of_one_gateway_are_limited(secured: SecuredApi) -> None:
    batch = {"readings": [reading(device_id=f"other-{number}") for number in range(10_000)]}
    assert secured.post(batch).json()["rejected"] == 10_000
    letter = {"error_id": str(uuid4()), "timestamp": "2025-08-24T10:30:00Z", "reason": "x"}
    letters = [letter | {"original": "eA==", "gateway_id": f"gw-{number}"} for number in range(10, 1000)]
    assert secured.post({"errors": letters}, path="/iot/errors").json()["rejected"] == 990
    refused = [line for line in secured.audit() if line["action"] == "reading_refused"]
    assert 31 <= len(refused) <= 60
    (summary,) = (line for line in refused if "omitted" in line["reason"])
    assert summary["reason"] == "9970 more entries omitted"
    assert summary["gateway"] == "gw-1"
