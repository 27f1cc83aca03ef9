"""Tokens: valid ones, and forged, unsigned, wrongly signed, expired and foreign ones."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from cloud_ingest.access.permissions import GATEWAY_SCOPES, Scope
from cloud_ingest.access.registry import Registration, Registry
from cloud_ingest.access.signing_keys import SigningKeys
from cloud_ingest.access.tokens import InvalidToken, Tokens
from tests.cloud_ingest.forgeries import b64, confused, unsigned

Forge = Callable[..., str]


@pytest.fixture
def keys(tmp_path: Path) -> SigningKeys:
    return SigningKeys(tmp_path / "keys", timedelta(seconds=70))


@pytest.fixture
def tokens(keys: SigningKeys) -> Tokens:
    return Tokens(keys, lifetime_s=60)


@pytest.fixture
def registration(tmp_path: Path) -> Registration:
    return Registry.open(tmp_path / "gateways.json").add("gw-1", GATEWAY_SCOPES, None)[0]


@pytest.fixture
def claims(registration: Registration) -> dict[str, Any]:
    """The claims of a valid token."""
    now = int(time.time())
    return {
        "iss": "kidjamo-ingest",
        "aud": "kidjamo-api",
        "sub": "gw-1",
        "scope": "errors:write readings:write",
        "registered": registration.added.isoformat(),
        "iat": now,
        "exp": now + 60,
        "jti": "7d3c6f4e-33c7-5b0e-9d2b-64f2f6a9c001",
    }


@pytest.fixture
def forge(keys: SigningKeys, claims: dict[str, Any]) -> Forge:
    """Return a token signed with the service's key, with some claims changed or omitted (None)."""

    def make(**changes: Any) -> str:
        changed = {name: value for name, value in (claims | changes).items() if value is not None}
        return jwt.encode(changed, keys.signing().private, "ES256", {"kid": keys.signing().kid})

    return make


def test_issue_and_verify(tokens: Tokens, registration: Registration, keys: SigningKeys) -> None:
    token = tokens.issue(registration, frozenset({Scope.READINGS_WRITE}))
    header, payload, _ = token.split(".")
    assert json.loads(base64.urlsafe_b64decode(header + "==")) == {
        "alg": "ES256", "kid": keys.signing().kid, "typ": "JWT",
    }  # fmt: skip
    decoded = json.loads(base64.urlsafe_b64decode(payload + "=="))
    assert (decoded["iss"], decoded["aud"], decoded["sub"]) == ("kidjamo-ingest", "kidjamo-api", "gw-1")
    assert decoded["exp"] - decoded["iat"] == 60
    verified = tokens.verify(token)
    assert (verified.gateway_id, verified.scopes) == ("gw-1", frozenset({Scope.READINGS_WRITE}))
    assert tokens.verify(token) is verified, "the second verification is cached"


def test_verify_accepts_a_token_signed_with_the_key(tokens: Tokens, forge: Forge) -> None:
    assert tokens.verify(forge()).gateway_id == "gw-1"


@pytest.mark.parametrize(
    "changes",
    [
        {"iss": "https://elsewhere.example"},
        {"iss": None},
        {"aud": "another-api"},
        {"aud": ["kidjamo-api", "another-api"]},
        {"aud": None},
        {"exp": None},
        {"iat": None},
        {"sub": None},
        {"sub": 7},
        {"jti": None},
        {"scope": None},
        {"registered": None},
        {"iat": int(time.time()) + 3600},
        {"nbf": int(time.time()) + 3600},
        {"exp": "never"},
    ],
)
def test_verify_refuses_other_claims(tokens: Tokens, forge: Forge, changes: dict[str, Any]) -> None:
    with pytest.raises(InvalidToken, match="not a token of this service"):
        tokens.verify(forge(**changes))


def test_verify_refuses_an_expired_token_after_a_leeway(
    tokens: Tokens, forge: Forge, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = int(time.time())
    assert tokens.verify(forge(iat=now - 65, exp=now - 5))
    with pytest.raises(InvalidToken, match="expired"):
        tokens.verify(forge(iat=now - 75, exp=now - 15))
    good = forge()
    tokens.verify(good)
    monkeypatch.setattr(time, "time", lambda: now + 80.0)
    with pytest.raises(InvalidToken, match="expired"):
        tokens.verify(good)  # cached, and expired


def test_verify_refuses_another_key_with_a_known_or_unknown_kid(
    tokens: Tokens, keys: SigningKeys, claims: dict[str, Any]
) -> None:
    stranger = ec.generate_private_key(ec.SECP256R1())
    forged = jwt.encode(claims, stranger, "ES256", {"kid": keys.signing().kid})
    with pytest.raises(InvalidToken, match="not a token of this service"):
        tokens.verify(forged)
    for kid in ("20250824T103000.000000Z-00000000", "../../dev/null", None):
        with pytest.raises(InvalidToken, match="not in use"):
            tokens.verify(jwt.encode(claims, stranger, "ES256", {"kid": kid} if kid else None))


@pytest.mark.parametrize("algorithm", ["none", "None", "NONE", "nOnE"])
def test_verify_refuses_an_unsigned_token(
    tokens: Tokens, keys: SigningKeys, claims: dict[str, Any], algorithm: str
) -> None:
    for signature in (b"", b"anything"):
        with pytest.raises(InvalidToken, match="not a token of this service"):
            tokens.verify(unsigned(claims, keys.signing().kid, algorithm, signature))


@pytest.mark.parametrize("encoding", ["pem", "der"])
def test_verify_refuses_the_public_key_as_a_shared_secret(
    tokens: Tokens, keys: SigningKeys, claims: dict[str, Any], encoding: str
) -> None:
    public = keys.signing().private.public_key()
    secret = public.public_bytes(
        serialization.Encoding.PEM if encoding == "pem" else serialization.Encoding.DER,
        serialization.PublicFormat.SubjectPublicKeyInfo,
    )
    with pytest.raises(InvalidToken, match="not a token of this service"):
        tokens.verify(confused(claims, keys.signing().kid, secret))


def test_verify_refuses_a_changed_payload(tokens: Tokens, forge: Forge, claims: dict[str, Any]) -> None:
    header, _, signature = forge().split(".")
    changed = b64(json.dumps(claims | {"sub": "gw-2"}).encode())
    with pytest.raises(InvalidToken):
        tokens.verify(f"{header}.{changed}.{signature}")


@pytest.mark.parametrize("token", ["", "x", "..", "a.b.c", "é.é.é", "." * 5000, "ey" * 3000, "[" * 4000])
def test_verify_refuses_malformed_tokens(tokens: Tokens, token: str) -> None:
    with pytest.raises(InvalidToken):
        tokens.verify(token)


def test_token_is_invalid_once_its_key_is_removed(
    tokens: Tokens, keys: SigningKeys, forge: Forge, tmp_path: Path
) -> None:
    token = forge()
    tokens.verify(token)
    old = keys.signing().kid
    keys.make()
    assert tokens.verify(token), "valid after a rotation"
    (tmp_path / "keys" / f"{old}.pem").unlink()
    with pytest.raises(InvalidToken, match="no longer in use"):
        tokens.verify(token)


def test_unknown_scopes_are_ignored(tokens: Tokens, forge: Forge) -> None:
    assert tokens.verify(forge(scope="readings:write everything")).scopes == frozenset({Scope.READINGS_WRITE})
