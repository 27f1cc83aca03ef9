"""The API with authentication on: tokens, scopes, rate limits and the audit log."""

from __future__ import annotations

import gzip
import json
import time
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives import serialization

from cloud_ingest.access.permissions import GATEWAY_SCOPES, Scope
from cloud_ingest.access.registry import Registry
from cloud_ingest.access.signing_keys import SigningKeys
from cloud_ingest.postgres.migrations import migrate
from cloud_ingest.settings import Settings
from deploy.local.kafka import KafkaBroker
from deploy.local.postgres import PostgresServer
from tests.cloud_ingest.forgeries import confused, unsigned
from tests.cloud_ingest.running import NOWHERE, RunningApi, ServedApi, environment, register, wait_until
from tests.cloud_ingest.samples import CRISIS, reading
from tests.cloud_ingest.topic_reader import of_device

MEASUREMENTS, ERRORS = "kidjamo-iot-measurements", "kidjamo-iot-errors"
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


@pytest.fixture
def secured(tmp_path: Path) -> Iterator[SecuredApi]:
    variables = environment(tmp_path, NOWHERE, API_AUTH="on")
    secret = register(variables, "gw-1", "bracelet-001", "bracelet-002")
    with RunningApi(variables) as api:
        yield SecuredApi(api, secret, variables)


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


def test_routes_except_health_and_documentation_require_a_token(secured: SecuredApi) -> None:
    http = secured.api.http
    for path in ("/iot/measurements", "/ingest", "/iot/errors"):
        refused = http.post(path, json=reading())
        assert (refused.status_code, refused.json()["error"]) == (401, "unauthorized")
        assert refused.headers["www-authenticate"] == "Bearer"
    assert http.get("/metrics").status_code == 401
    assert http.get("/reconciliation").status_code == 401
    for path in ("/health", "/docs", "/openapi.json"):
        assert http.get(path).status_code == 200


def test_openapi_describes_authentication_and_scopes(secured: SecuredApi) -> None:
    document = secured.api.http.get("/openapi.json").json()
    flow = document["components"]["securitySchemes"]["gateway"]["flows"]["clientCredentials"]
    assert flow["tokenUrl"] == "/oauth/token"
    assert set(flow["scopes"]) == {
        *("readings:write", "errors:write", "metrics:read"),
        *("alarms:read", "alarms:write", "patients:erase"),
    }
    assert document["paths"]["/iot/measurements"]["post"]["security"] == [{"gateway": ["readings:write"]}]
    assert document["paths"]["/metrics"]["get"]["security"] == [{"gateway": ["metrics:read"]}]
    assert document["paths"]["/alarms"]["get"]["security"] == [{"gateway": ["alarms:read"]}]
    assert "security" not in document["paths"]["/health"]["get"]


def test_token_allows_only_its_scopes(secured: SecuredApi) -> None:
    assert secured.post(reading()).status_code == 200
    assert secured.post({"errors": []}, path="/iot/errors").status_code == 200
    narrow = secured.token(scope="errors:write")
    refused = secured.post(reading(), narrow)
    assert (refused.status_code, refused.json()["error"]) == (403, "forbidden")
    assert refused.headers["www-authenticate"] == 'Bearer error="insufficient_scope", scope="readings:write"'
    secret = register(secured.variables, "prometheus", scopes=frozenset({Scope.METRICS_READ}))
    reader = {"Authorization": f"Bearer {secured.token('prometheus', secret)}"}
    assert secured.api.http.get("/metrics", headers=reader).status_code == 200
    assert secured.api.http.post("/iot/measurements", json=reading(), headers=reader).status_code == 403


def test_invalid_tokens_are_refused_with_a_reason(secured: SecuredApi, tmp_path: Path) -> None:
    good = secured.token()
    claims = jwt.decode(good, options={"verify_signature": False})
    keys = SigningKeys.of(secured.api.settings)
    key, elsewhere = keys.signing(), {"keys_dir": tmp_path / "theirs"}
    stranger = SigningKeys.of(secured.api.settings.model_copy(update=elsewhere)).signing()
    public = key.private.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    header = {"kid": key.kid}
    old = claims | {"iat": int(time.time()) - 700, "exp": int(time.time()) - 100}
    bad = {
        "expired": jwt.encode(old, key.private, "ES256", header),
        "forged": jwt.encode(claims, stranger.private, "ES256", header),
        "another key": jwt.encode(claims, stranger.private, "ES256", {"kid": stranger.kid}),
        "unsigned": unsigned(claims, key.kid),
        "confused": confused(claims, key.kid, public),
        "other audience": jwt.encode(claims | {"aud": "other"}, key.private, "ES256", header),
        "other issuer": jwt.encode(claims | {"iss": "other"}, key.private, "ES256", header),
        "cut": good[:-4],
        "nonsense": "x.y.z",
    }
    for name, token in bad.items():
        answer = secured.post(reading(), token)
        assert (name, answer.status_code) == (name, 401)
        assert answer.headers["www-authenticate"].startswith('Bearer error="invalid_token"')
    assert secured.post(reading(), good).status_code == 200
    reasons = {line["reason"] for line in secured.audit() if line["action"] == "access_refused"}
    assert "the token has expired" in reasons
    assert secured.api.app.state.services.ingest.metrics.accepted == 1


def test_revoked_gateway_is_refused_and_its_old_token_stays_invalid(secured: SecuredApi) -> None:
    token = secured.token()
    assert secured.post(reading(), token).status_code == 200
    secured.registry.revoke("gw-1")
    refused = secured.post(reading(), token)
    assert refused.status_code == 401
    assert "revoked" in refused.json()["reason"]
    assert secured.request_token().status_code == 401
    secret = register(secured.variables, "gw-1")
    assert secured.post(reading(), token).status_code == 401, "of an earlier registration"
    assert secured.post(reading(), secured.token("gw-1", secret)).status_code == 200


def test_changed_registration_applies_to_issued_tokens(secured: SecuredApi) -> None:
    token = secured.token()
    assert secured.post(reading(device_id="bracelet-003"), token).status_code == 403
    secured.registry.change("gw-1", None, frozenset({"bracelet-003"}))
    assert secured.post(reading(device_id="bracelet-003"), token).status_code == 200
    secured.registry.change("gw-1", frozenset({Scope.ERRORS_WRITE}), None)
    assert secured.post(reading(device_id="bracelet-003"), token).status_code == 403


def test_tokens_signed_before_a_key_rotation_stay_valid(secured: SecuredApi) -> None:
    before = secured.token()
    kid = SigningKeys.of(secured.api.settings).make().kid
    after = secured.token()
    assert jwt.get_unverified_header(after)["kid"] == kid != jwt.get_unverified_header(before)["kid"]
    assert secured.post(reading(), before).status_code == secured.post(reading(), after).status_code == 200


def test_reading_of_another_gateways_device_is_refused_without_the_others_and_recorded(
    kafka: KafkaBroker, tmp_path: Path
) -> None:
    own, other = f"own-{uuid4().hex[:8]}", f"other-{uuid4().hex[:8]}"
    variables = environment(tmp_path, kafka.bootstrap, API_AUTH="on")
    with RunningApi(variables) as api:
        secured = SecuredApi(api, register(variables, "gw-1", own), variables)
        assert wait_until(lambda: api.component("kafka") == {"status": "up"}, 20)
        batch = [
            reading(device_id=own),
            reading(CRISIS, device_id=other),
            reading(device_id=own, gateway_id="gw-2"),
            reading(device_id=own, gateway_id="gw-1"),
        ]
        answer = secured.post({"readings": batch}).json()
        assert (answer["accepted"], answer["rejected"]) == (2, 2)
        assert [each["error"] for each in answer["results"]] == [
            None,
            "device_id: the gateway is not registered for this device",
            "gateway_id: is not the gateway of the token",
            None,
        ]
        single = secured.post(reading(device_id=other))
        assert (single.status_code, single.json()["error"]) == (403, "forbidden")
        assert single.json()["field"] == "device_id"
        stored = [each.value["gateway_id"] for each in of_device(kafka.bootstrap, MEASUREMENTS, own)]
        assert stored == ["gw-1", "gw-1"], "added where the sender omitted it"
        assert of_device(kafka.bootstrap, MEASUREMENTS, other) == []
        assert len(of_device(kafka.bootstrap, ERRORS, other)) == 2
        refused = [line for line in secured.audit() if line["action"] == "reading_refused"]
        assert [(line["gateway"], line["claimed"]) for line in refused] == [("gw-1", other), ("gw-1", "gw-2")]
        assert b"patient-001-ss" not in Path(variables["API_AUDIT_FILE"]).read_bytes()


def test_dead_letters_of_another_gateway_are_refused(secured: SecuredApi) -> None:
    letter = {
        "error_id": str(uuid4()),
        "timestamp": "2025-08-24T10:30:00Z",
        "reason": "not JSON",
        "original": "eyJzcG8yX3BjdCI6",
    }
    letters = [letter | {"gateway_id": "gw-1"}, letter | {"gateway_id": "gw-2"}, letter]
    assert secured.post({"errors": letters}, path="/iot/errors").json() == {"accepted": 2, "rejected": 1}


def test_oversized_and_malicious_bodies_are_refused(secured: SecuredApi) -> None:
    headers = {"Authorization": f"Bearer {secured.token()}"}

    def post(content: bytes, **more: str) -> httpx.Response:
        return secured.api.http.post("/iot/measurements", content=content, headers=headers | more)

    assert post(b" " * 40 * 10**6).status_code == 413
    bomb = gzip.compress(b" " * (33 * 2**20))
    assert post(gzip.compress(bomb), **{"Content-Encoding": "gzip"}).status_code == 422
    for nested in (b"[" * 10**6, b'{"a":' * 10**5, b'{"readings": [' + b"[" * 10**5):
        answer = post(nested)
        assert answer.status_code == 422
        assert answer.json()["reason"] == "nested too deeply"
    assert post(bomb, **{"Content-Encoding": "gzip"}).status_code == 413
    assert secured.api.http.get("/health").status_code == 200


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


def test_token_route_is_absent_without_authentication(tmp_path: Path) -> None:
    with RunningApi(environment(tmp_path, NOWHERE)) as api:
        assert api.http.post("/oauth/token", data=FORM).status_code == 404
        assert api.post(reading(gateway_id="any")).status_code == 200
    assert not (tmp_path / "token-keys").exists()
    assert not (tmp_path / "audit.jsonl").exists()


def test_heartbeat_of_another_gateway_is_refused(secured: SecuredApi) -> None:
    heartbeat = {"status_id": str(uuid4()), "gateway_id": "gw-1", "timestamp": "2025-08-24T10:30:00Z"}
    assert secured.api.post(heartbeat, "/iot/heartbeat").status_code == 401
    assert secured.post(heartbeat, path="/iot/heartbeat").status_code == 200
    foreign = secured.post(heartbeat | {"gateway_id": "gw-2"}, path="/iot/heartbeat")
    assert (foreign.status_code, foreign.json()["error"]) == (403, "forbidden")
    assert secured.audit()[-1]["claimed"] == "gw-2"


@pytest.fixture
def bound(tmp_path: Path) -> Iterator[SecuredApi]:
    """The API, and the gateway `gw-1`, registered for the patient `patient-001-ss` only."""
    variables = environment(tmp_path, NOWHERE, API_AUTH="on")
    registry = Registry.open(Path(variables["API_GATEWAYS_FILE"]))
    secret = registry.add("gw-1", GATEWAY_SCOPES, None, frozenset({"patient-001-ss"}))[1]
    with RunningApi(variables) as api:
        yield SecuredApi(api, secret, variables)


def test_reading_of_another_gateways_patient_is_refused_and_the_patient_not_logged(
    bound: SecuredApi, caplog: pytest.LogCaptureFixture
) -> None:
    own, other = reading(), reading(patient_id="patient-777-zz")
    answer = bound.post({"readings": [own, other]}).json()
    assert (answer["accepted"], answer["rejected"]) == (1, 1)
    assert answer["results"][1]["error"] == "patient_id: the gateway is not registered for this patient"
    single = bound.post(other)
    assert (single.status_code, single.json()["error"]) == (403, "forbidden")
    assert single.json()["field"] == "patient_id"
    flat = {"patient_id": "patient-777-zz", "device_id": "bracelet-001", "spo2_pct": 80}
    assert bound.post(flat, path="/ingest").status_code == 403
    (line,) = (line for line in bound.audit() if line["action"] == "reading_refused")
    assert (line["gateway"], line["claimed"]) == ("gw-1", "")
    assert b"patient-777-zz" not in Path(bound.variables["API_AUDIT_FILE"]).read_bytes()
    assert "patient-777-zz" not in caplog.text


@pytest.mark.parametrize("field", ["watches", "episodes"])
def test_heartbeat_that_names_another_gateways_patient_is_refused(bound: SecuredApi, field: str) -> None:
    def heartbeat(patient: str) -> dict[str, Any]:
        silenced = {"group": "SPO2", "phase": "ACKNOWLEDGED", "by": "x", "until": "2035-08-24T10:30:00Z"}
        named = {"watches": [patient], "episodes": [silenced | {"patient_id": patient}]}
        about = {"status_id": str(uuid4()), "gateway_id": "gw-1", "timestamp": "2025-08-24T10:30:00Z"}
        return about | {field: named[field]}

    assert bound.post(heartbeat("patient-001-ss"), path="/iot/heartbeat").status_code == 200
    pending = bound.api.component("spool")["pending"]
    refused = bound.post(heartbeat("patient-777-zz"), path="/iot/heartbeat")
    assert (refused.status_code, refused.json()["field"]) == (403, field)
    assert bound.api.component("spool")["pending"] == pending
    assert bound.audit()[-1]["action"] == "reading_refused"
    assert field in bound.audit()[-1]["reason"]
    assert b"patient-777-zz" not in Path(bound.variables["API_AUDIT_FILE"]).read_bytes()


def test_alarm_routes_require_their_scopes(secured: SecuredApi) -> None:
    screen_secret = register(secured.variables, "screen", scopes=frozenset({Scope.ALARMS_READ}))
    viewer = {"Authorization": f"Bearer {secured.token('screen', screen_secret)}"}
    sending = {"Authorization": f"Bearer {secured.token()}"}
    answer = {"by": "Fatou"}
    for path, body in (
        ("/alarms/p1_x/acknowledge", answer),
        ("/alarms/conditions/acknowledge", answer | {"key": "GATEWAY_SILENT:gw-1"}),
    ):
        assert secured.api.post(body, path).status_code == 401
        assert secured.api.http.post(path, json=body, headers=sending).status_code == 403
        assert secured.api.http.post(path, json=body, headers=viewer).status_code == 403
    assert secured.api.http.get("/alarms").status_code == 401
    assert secured.api.http.get("/alarms", headers=sending).status_code == 403
    assert (
        secured.api.http.get("/alarms", headers=viewer).status_code == 503
    )  # authorized, but no database is configured


def test_erasure_requires_its_scope_and_is_audited(
    own_kafka: KafkaBroker, own_postgres: PostgresServer, tmp_path: Path
) -> None:
    dsn = own_postgres.database("guarded_erasure")
    variables = environment(tmp_path, own_kafka.bootstrap, API_AUTH="on", **dsn.env())
    migrate(Settings.from_environment(variables))
    secret = register(variables, "gw-1", "bracelet-001")
    officer = register(variables, "officer", scopes=frozenset({Scope.PATIENTS_ERASE}))
    with RunningApi(variables) as api:
        secured = SecuredApi(api, secret, variables)
        sending = {"Authorization": f"Bearer {secured.token()}"}
        erasing = {"Authorization": f"Bearer {secured.token('officer', officer)}"}
        assert api.http.delete("/patients/patient-001-ss").status_code == 401
        assert api.http.delete("/patients/patient-001-ss", headers=sending).status_code == 403
        made = api.http.delete("/patients/patient-001-ss", headers=erasing)
        assert made.status_code == 202
        assert api.http.get(made.headers["location"], headers=sending).status_code == 403
        assert api.http.get(made.headers["location"], headers=erasing).json()["state"] == "requested"
        entry = secured.audit()[-1]
        assert (entry["action"], entry["gateway"]) == ("erasure_requested", "officer")
        assert entry["request"] == made.json()["request_id"]
        assert "patient-001" not in json.dumps(secured.audit())
