"""The token route: responses and errors of RFC 6749."""

from __future__ import annotations

from base64 import b64encode
from pathlib import Path

import pytest

from tests.cloud_ingest.running import NOWHERE, RunningApi, environment
from tests.cloud_ingest.samples import reading
from tests.cloud_ingest.secured_api import FORM, SecuredApi


def test_token_response_follows_rfc_6749(secured: SecuredApi) -> None:
    answer = secured.request_token()
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    body = answer.json()
    assert set(body) == {"access_token", "token_type", "expires_in", "scope"}
    assert (body["token_type"], body["expires_in"]) == ("Bearer", 600)
    assert body["scope"] == "errors:write readings:write"
    in_form = secured.api.http.post(
        "/oauth/token", data=FORM | {"client_id": "gw-1", "client_secret": secured.secret}
    )
    assert in_form.status_code == 200
    assert secured.request_token(scope="errors:write").json()["scope"] == "errors:write"


@pytest.mark.parametrize(
    ("form", "status", "error"),
    [
        ({}, 400, "invalid_request"),
        ({"grant_type": "password"}, 400, "unsupported_grant_type"),
        (FORM | {"scope": "readings:write metrics:read"}, 400, "invalid_scope"),
        (FORM | {"scope": "everything"}, 400, "invalid_scope"),
        (FORM | {"client_id": "gw-1", "client_secret": "twice"}, 400, "invalid_request"),
    ],
)
def test_token_request_that_is_invalid_gets_the_error_code_of_rfc_6749(
    secured: SecuredApi, form: dict[str, str], status: int, error: str
) -> None:
    answer = secured.api.http.post("/oauth/token", data=form or {"x": "y"}, auth=("gw-1", secured.secret))
    assert (answer.status_code, answer.json()["error"]) == (status, error)
    assert set(answer.json()) == {"error", "error_description"}
    assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b'{"grant_type": "client_credentials"}', "application/json"),
        (b"grant_type=client_credentials&grant_type=client_credentials", "application/x-www-form-urlencoded"),
        (b"no form", "application/x-www-form-urlencoded"),
        (b"\xff=1", "application/x-www-form-urlencoded"),
        (b"&".join(b"a%d=1" % n for n in range(30)), "application/x-www-form-urlencoded"),
    ],
)
def test_token_request_that_is_not_a_form_is_refused(secured: SecuredApi, content: bytes, kind: str) -> None:
    answer = secured.api.http.post(
        "/oauth/token", content=content, headers={"Content-Type": kind}, auth=("gw-1", secured.secret)
    )
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")


def test_token_request_that_is_too_large_is_refused(secured: SecuredApi) -> None:
    assert secured.api.http.post("/oauth/token", data=FORM | {"x": "y" * 20_000}).status_code == 413


@pytest.mark.parametrize(
    "authorization", ["Basic", "Basic !", "Basic " + b64encode(b"gw-1").decode(), "Bearer x", "Digest x"]
)
def test_token_request_with_another_authorization_scheme_is_refused(
    secured: SecuredApi, authorization: str
) -> None:
    answer = secured.api.http.post("/oauth/token", data=FORM, headers={"Authorization": authorization})
    assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client")
    assert answer.headers["www-authenticate"].startswith("Basic")


def test_token_request_of_an_unknown_client_is_audited_without_its_input(secured: SecuredApi) -> None:
    for name, secret in (("gw-1", "wrong"), ("gw-1", ""), ("a-secret-in-the-wrong-field", secured.secret)):
        answer = secured.request_token(name, secret)
        assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client")
    secured.request_token()
    lines = secured.audit()
    assert [(line["action"], line.get("gateway")) for line in lines] == [
        ("key_made", None),
        ("token_refused", "gw-1"),
        ("token_refused", "gw-1"),
        ("token_refused", "?"),
        ("token_issued", "gw-1"),
    ]
    assert lines[-1]["address"] == "127.0.0.1"
    text = Path(secured.variables["API_AUDIT_FILE"]).read_text()
    assert secured.secret not in text
    assert "wrong-field" not in text


def test_token_route_is_absent_without_authentication(tmp_path: Path) -> None:
    with RunningApi(environment(tmp_path, NOWHERE)) as api:
        assert api.http.post("/oauth/token", data=FORM).status_code == 404
        assert api.post(reading(gateway_id="any")).status_code == 200
    assert not (tmp_path / "token-keys").exists()
    assert not (tmp_path / "audit.jsonl").exists()
