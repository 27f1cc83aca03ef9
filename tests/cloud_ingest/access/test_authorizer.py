"""The API with authentication on: tokens, scopes, devices and patients."""

from __future__ import annotations

import gzip
import json
import time
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
from tests.cloud_ingest.running import NOWHERE, RunningApi, environment, register
from tests.cloud_ingest.samples import CRISIS, reading
from tests.cloud_ingest.secured_api import SecuredApi
from tests.cloud_ingest.topic_reader import of_device
from tests.waiting import wait_until

MEASUREMENTS, ERRORS = "kidjamo-iot-measurements", "kidjamo-iot-errors"


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
        assert wait_until(lambda: api.component("kafka") == {"status": "up"})
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
        common = {"status_id": str(uuid4()), "gateway_id": "gw-1", "timestamp": "2025-08-24T10:30:00Z"}
        return common | {field: named[field]}

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
        accepted = api.http.delete("/patients/patient-001-ss", headers=erasing)
        assert accepted.status_code == 202
        assert api.http.get(accepted.headers["location"], headers=sending).status_code == 403
        assert api.http.get(accepted.headers["location"], headers=erasing).json()["state"] == "requested"
        entry = secured.audit()[-1]
        assert (entry["action"], entry["gateway"]) == ("erasure_requested", "officer")
        assert entry["request"] == accepted.json()["request_id"]
        assert "patient-001" not in json.dumps(secured.audit())
