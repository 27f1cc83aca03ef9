"""The authorizer: issues access tokens, checks them, limits rates and writes the audit log."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address

from cloud_ingest.access.audit import Action, AuditLog
from cloud_ingest.access.permissions import Caller, Scope
from cloud_ingest.access.rate_limit import RateLimit
from cloud_ingest.access.registry import Registry
from cloud_ingest.access.tokens import InvalidToken, Tokens
from cloud_ingest.errors import Forbidden, NotAllowed, OAuthRefused, TooManyRequests, Unauthorized

FAILURES_BURST = 20
FAILURES_PER_S = 0.2
"""Failed token requests allowed per address, and audit entries about its invalid tokens. Correct credentials
are accepted even above the limit: gateways may share an address, and a 256-bit secret cannot be guessed.
Requests with an expired token get 401 even above the limit."""
BURST_S = 5
"""A bucket holds the client's rate times this many seconds, so that a gateway can catch up."""
BYTES_PER_UNIT = 512
"""About the size of a reading; a request costs one unit per 512 bytes."""
TOKEN_UNITS = 100
"""Cost of a token: a signature takes as long as many readings."""
REFUSALS_PER_S = 1 / 60
"""Audit entries about one device or scope of a gateway."""
ENTRIES_BURST, ENTRIES_PER_S = 30, 0.5
"""Audit entries about everything one gateway may not send, at most 60 in a minute; the others are counted."""


@dataclass(frozen=True, slots=True)
class Grant:
    """An access token and its scopes."""

    token: str
    expires_in: int
    scopes: frozenset[Scope]


class Authorizer:
    """Token issuer and access check.

    Args:
        rate: units a second each client may use; a unit is about one reading.

    Attributes:
        audit: the audit log.
    """

    def __init__(self, registry: Registry, tokens: Tokens, audit: AuditLog, rate: float) -> None:
        self._registry, self._tokens, self.audit = registry, tokens, audit
        self._usage = RateLimit(rate, rate * BURST_S)
        self._token_failures = RateLimit(FAILURES_PER_S, FAILURES_BURST)
        self._unauthorized_entries = RateLimit(FAILURES_PER_S, FAILURES_BURST)
        self._refusal_entries = RateLimit(REFUSALS_PER_S, 1)
        self._gateway_entries = RateLimit(ENTRIES_PER_S, ENTRIES_BURST)
        self._summary_entries = RateLimit(REFUSALS_PER_S, 1)
        self._omitted: Counter[str] = Counter()

    def admit(self, authorization: str | None, address: str, scope: Scope) -> Caller:
        """Return the caller that an Authorization header identifies.

        Raises:
            Unauthorized: no token, or an invalid one.
            Forbidden: a token without the scope.
            TooManyRequests: the client has used up its rate.
        """
        caller = self._bearer(authorization, address)
        gateway_id = caller.gateway_id or ""
        if wait := self._usage.wait(gateway_id, time.monotonic()):
            raise TooManyRequests("readings", wait)
        self._usage.charge(gateway_id, 1, time.monotonic())
        if scope not in caller.scopes:
            if self._refusal_entries.take(f"{gateway_id}/{scope}", time.monotonic()):
                self.audit.write(Action.ACCESS_REFUSED, gateway=gateway_id, reason=f"lacks {scope}")
            raise Forbidden(scope)
        return caller

    def charge(self, caller: Caller, size: int) -> None:
        """Charge a caller for a body of `size` bytes, decompressed."""
        if caller.gateway_id is not None:
            self._usage.charge(caller.gateway_id, size / BYTES_PER_UNIT, time.monotonic())

    def grant(self, gateway_id: str, secret: str, scope: str | None, address: str) -> Grant:
        """Issue a token for the credentials of a gateway.

        Args:
            scope: requested scopes, separated by spaces; None for all of the gateway's.

        Raises:
            OAuthRefused: unknown gateway, wrong secret, or a scope the gateway does not have.
            TooManyRequests: the client has used up its rate, or the address its failed attempts.
        """
        registration = self._registry.authenticate(gateway_id, secret)
        if registration is None:
            # An unknown client_id may be a secret in the wrong field, so it is not written to the log.
            registered = any(gateway_id == each.gateway_id for each in self._registry.all())
            reason = "unknown, revoked, or the wrong secret"
            self._token_refused(gateway_id if registered else "?", reason, address)
            raise OAuthRefused("invalid_client", "unknown client, or the wrong secret")
        if wait := self._usage.wait(gateway_id, time.monotonic()):
            raise TooManyRequests("requests", wait)
        self._usage.charge(gateway_id, TOKEN_UNITS, time.monotonic())
        requested = set(scope.split()) if scope else registration.scopes
        scopes = frozenset(each for each in registration.scopes if each in requested)
        if not scopes or len(scopes) < len(requested):
            self._token_refused(gateway_id, "requests a scope it does not have", address)
            raise OAuthRefused(
                "invalid_scope", f"this client may have: {' '.join(sorted(registration.scopes))}"
            )
        self.audit.write(
            Action.TOKEN_ISSUED, gateway=gateway_id, scope=" ".join(sorted(scopes)), address=address
        )
        return Grant(self._tokens.issue(registration, scopes), self._tokens.lifetime_s, scopes)

    def note(self, caller: Caller, refused: Iterable[NotAllowed]) -> None:
        """Write audit entries about readings a gateway may not send, at most one a minute for each device."""
        gateway_id, now = caller.gateway_id or "", time.monotonic()
        for error in refused:
            if not self._refusal_entries.take(f"{gateway_id}/{error.field}/{error.claimed}", now):
                continue
            if self._gateway_entries.take(gateway_id, now):
                self.audit.write(
                    Action.READING_REFUSED, gateway=gateway_id, reason=str(error), claimed=error.claimed
                )
            else:
                self._omitted[gateway_id] += 1
        if self._omitted[gateway_id] and self._summary_entries.take(gateway_id, now):
            reason = f"{self._omitted.pop(gateway_id)} more entries omitted"
            self.audit.write(Action.READING_REFUSED, gateway=gateway_id, reason=reason)

    def _bearer(self, authorization: str | None, address: str) -> Caller:
        scheme, _, token = (authorization or "").partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            self._unauthorized("no token", address)
            raise Unauthorized("a bearer token of this service is required", invalid=False)
        try:
            return self._caller(token.strip())
        except InvalidToken as error:
            self._unauthorized(str(error), address)
            raise Unauthorized(str(error), invalid=True) from None

    def _caller(self, token: str) -> Caller:
        claims = self._tokens.verify(token)
        registration = self._registry.active(claims.gateway_id)
        if registration is None or registration.added.isoformat() != claims.registered:
            raise InvalidToken("the gateway's registration was revoked")
        scopes = claims.scopes & registration.scopes
        return Caller(claims.gateway_id, scopes, registration.devices, registration.patients)

    def _unauthorized(self, reason: str, address: str) -> None:
        """Write an audit entry about a request without a valid token, within the limit of its address."""
        if self._unauthorized_entries.take(network_of(address), time.monotonic()):
            self.audit.write(Action.ACCESS_REFUSED, gateway="?", reason=reason, address=address)

    def _token_refused(self, gateway_id: str, reason: str, address: str) -> None:
        """Count a failed token request and write an audit entry; raise TooManyRequests above the limit."""
        now, network = time.monotonic(), network_of(address)
        if wait := self._token_failures.wait(network, now):
            raise TooManyRequests("refused attempts", wait)
        self._token_failures.charge(network, 1, now)
        self.audit.write(Action.TOKEN_REFUSED, gateway=gateway_id, reason=reason, address=address)


def network_of(address: str) -> str:
    """Return the address that counts as one client: the address, or the /64 network of an IPv6 address."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, IPv6Address):
        return str(parsed.ipv4_mapped or parsed.packed[:8].hex())
    return str(parsed)
