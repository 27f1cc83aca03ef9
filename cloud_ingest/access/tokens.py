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
"""The only algorithm accepted, whatever the header of a token says."""
MAX_TOKEN_LENGTH = 4096
MAX_CACHED = 2000
_REQUIRED = ["iss", "aud", "sub", "scope", "registered", "iat", "exp", "jti"]


class InvalidToken(KidjamoError):
    """An invalid token; the message may be shown to its bearer."""


@dataclass(frozen=True, slots=True)
class Claims:
    """The claims of a valid token.

    Attributes:
        registered: time of the registration it was issued to.
        expires: seconds since 1970.
    """

    gateway_id: str
    scopes: frozenset[Scope]
    registered: str
    expires: float
    kid: str


class Tokens:
    """Issue and verification of tokens; verified ones are cached to save signature checks.

    Args:
        lifetime_s: how long a token is valid.
    """

    def __init__(self, keys: SigningKeys, lifetime_s: int) -> None:
        self._keys, self.lifetime_s = keys, lifetime_s
        self._cache: OrderedDict[str, Claims] = OrderedDict()

    def issue(self, registration: Registration, scopes: frozenset[Scope]) -> str:
        """Return a new token."""
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
        """Return the claims of a token.

        Raises:
            InvalidToken: not issued by this service, or no longer valid.
        """
        claims = self._cache.get(token)
        if claims is None:
            claims = self._decode(token)
            self._cache[token] = claims
            if len(self._cache) > MAX_CACHED:
                self._cache.popitem(last=False)
        if time.time() > claims.expires + LEEWAY_S:
            raise InvalidToken("the token has expired")
        if self._keys.verifying(claims.kid) is None:
            raise InvalidToken("the token's key is no longer in use")
        return claims

    def _decode(self, token: str) -> Claims:
        if len(token) > MAX_TOKEN_LENGTH:
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
