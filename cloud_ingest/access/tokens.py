"""Access tokens: short-lived JSON Web Tokens (RFC 7519) signed with ES256, bound to one registration."""

from __future__ import annotations

import time
from collections import OrderedDict
from dataclasses import dataclass
from uuid import uuid4

import jwt

from cloud_ingest.access.permissions import Scope
from cloud_ingest.access.registry import Registration
from cloud_ingest.access.signing_keys import LEEWAY_S, SigningKeys
from vitals.errors import KidjamoError

ISSUER = "kidjamo-ingest"
AUDIENCE = "kidjamo-api"
ALGORITHM = "ES256"
"""The only one that is accepted, whatever a token's header asks for."""
MAX_TOKEN = 4096
MAX_REMEMBERED = 2000
_REQUIRED = ["iss", "aud", "sub", "scope", "registered", "iat", "exp", "jti"]


class InvalidToken(KidjamoError):
    """A token that opens nothing; says why, in words that may be shown to its bearer."""


@dataclass(frozen=True, slots=True)
class Claims:
    """What a valid token says.

    Attributes:
        registered: the registration it was issued to, by its time.
        expires: seconds since 1970.
    """

    gateway_id: str
    scopes: frozenset[Scope]
    registered: str
    expires: float
    kid: str


class Tokens:
    """Issues and verifies tokens; remembers the verified ones, so that most requests cost no signature.

    Args:
        lifetime_s: how long a token is valid.
    """

    def __init__(self, keys: SigningKeys, lifetime_s: int) -> None:
        self._keys, self.lifetime_s = keys, lifetime_s
        self._remembered: OrderedDict[str, Claims] = OrderedDict()

    def issue(self, registration: Registration, scopes: frozenset[Scope]) -> str:
        """A fresh token."""
        key, now = self._keys.signing(), int(time.time())
        claims = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": registration.gateway_id,
            "scope": " ".join(sorted(scopes)),
            "registered": registration.added.isoformat(),
            "iat": now,
            "exp": now + self.lifetime_s,
            "jti": str(uuid4()),
        }
        return jwt.encode(claims, key.private, ALGORITHM, {"kid": key.kid})

    def verify(self, token: str) -> Claims:
        """What a token says.

        Raises:
            InvalidToken: it is not ours, or is no longer valid.
        """
        known = self._remembered.get(token)
        if known is None:
            known = self._decode(token)
            self._remembered[token] = known
            if len(self._remembered) > MAX_REMEMBERED:
                self._remembered.popitem(last=False)
        if time.time() > known.expires + LEEWAY_S:
            raise InvalidToken("the token has expired")
        if self._keys.verifying(known.kid) is None:
            raise InvalidToken("the token's key is no longer in use")
        return known

    def _decode(self, token: str) -> Claims:
        if len(token) > MAX_TOKEN:
            raise InvalidToken("not a token of this service")
        try:
            kid = str(jwt.get_unverified_header(token).get("kid"))
            key = self._keys.verifying(kid)
            if key is None:
                raise InvalidToken("the token is signed with a key that is not in use")
            claims = jwt.decode(
                token,
                key,
                algorithms=[ALGORITHM],
                audience=AUDIENCE,
                issuer=ISSUER,
                leeway=LEEWAY_S,
                options={"require": _REQUIRED, "strict_aud": True},
            )
        except jwt.ExpiredSignatureError:
            raise InvalidToken("the token has expired") from None
        except jwt.PyJWTError:
            raise InvalidToken("not a token of this service") from None
        scopes = frozenset(scope for scope in Scope if scope in str(claims["scope"]).split())
        return Claims(claims["sub"], scopes, str(claims["registered"]), float(claims["exp"]), kid)
