"""Forged tokens, which a library refuses to make."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from typing import Any


def b64(data: bytes) -> str:
    """Return base64 in the form of JSON Web Tokens."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def unsigned(claims: dict[str, Any], kid: str, algorithm: str = "none", signature: bytes = b"") -> str:
    """Return a token whose header names no signature algorithm."""
    header = {"alg": algorithm, "typ": "JWT", "kid": kid}
    return f"{b64(json.dumps(header).encode())}.{b64(json.dumps(claims).encode())}.{b64(signature)}"


def confused(claims: dict[str, Any], kid: str, public_key: bytes) -> str:
    """Return a token signed by HMAC with the public key as the secret (algorithm confusion)."""
    signed = unsigned(claims, kid, "HS256").rpartition(".")[0]
    return f"{signed}.{b64(hmac.new(public_key, signed.encode(), hashlib.sha256).digest())}"
