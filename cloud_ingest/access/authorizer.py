"""The door: hands out tokens, lets their bearers in within their rate, and keeps the audit log of both."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address

from cloud_ingest.access.audit import Action, Audit
from cloud_ingest.access.permissions import Caller, Scope
from cloud_ingest.access.rate_limit import Throttle
from cloud_ingest.access.registry import Registry
from cloud_ingest.access.tokens import InvalidToken, Tokens
from cloud_ingest.errors import Forbidden, NotAllowed, OAuthRefused, TooMany, Unauthorized

FAILURES_BURST = 20
FAILURES_PER_S = 0.2
"""Refused requests for a token an address may make before it is told to wait, and audit lines about its
refused tokens. Who is right is let in all the same: many gateways may share an address, and a secret of 256
bits is not found by trying. Whoever holds a token that is no longer good is always told so."""
BURST_S = 5
"""A client may fall behind and catch up: its bucket holds this many seconds of its rate."""
BYTES_PER_UNIT = 512
"""Size of about one reading: a request costs a unit for each."""
TOKEN_UNITS = 100
"""What a token costs: a signature is worth many readings."""
REFUSED_READINGS_PER_S = 1 / 60
"""Lines of the audit log about readings of one device that its gateway may not speak for."""
LINES_BURST, LINES_PER_S = 30, 0.5
"""Lines about all that one gateway may not send: 60 in its worst minute. One line counts the others."""


@dataclass(frozen=True, slots=True)
class Grant:
    """A token and what it opens."""

    token: str
    expires_in: int
    scopes: frozenset[Scope]


class Guard:
    """Decides who may do what.

    Args:
        rate: units a second each client may use, about a reading each.

    Attributes:
        audit: where it is written down.
    """

    def __init__(self, registry: Registry, tokens: Tokens, audit: Audit, rate: float) -> None:
        self._registry, self._tokens, self.audit = registry, tokens, audit
        self._usage = Throttle(rate, rate * BURST_S)
        self._failures = Throttle(FAILURES_PER_S, FAILURES_BURST)
        self._strangers = Throttle(FAILURES_PER_S, FAILURES_BURST)
        self._told = Throttle(REFUSED_READINGS_PER_S, 1)
        self._lines = Throttle(LINES_PER_S, LINES_BURST)
        self._summed_up = Throttle(REFUSED_READINGS_PER_S, 1)
        self._left_out: Counter[str] = Counter()

    def admit(self, authorization: str | None, address: str, scope: Scope) -> Caller:
        """The bearer of a token.

        Raises:
            Unauthorized: no token, or none that is valid.
            Forbidden: a token without the scope.
            TooMany: more than the client may do.
        """
        caller = self._bearer(authorization, address)
        gateway_id = caller.gateway_id or ""
        if wait := self._usage.wait(gateway_id, time.monotonic()):
            raise TooMany("readings", wait)
        self._usage.charge(gateway_id, 1, time.monotonic())
        if scope not in caller.scopes:
            if self._told.take(f"{gateway_id}/{scope}", time.monotonic()):
                self.audit.write(Action.ACCESS_REFUSED, gateway=gateway_id, reason=f"lacks {scope}")
            raise Forbidden(scope)
        return caller

    def charge(self, caller: Caller, size: int) -> None:
        """Charge a caller for a body of that many bytes, decompressed."""
        if caller.gateway_id is not None:
            self._usage.charge(caller.gateway_id, size / BYTES_PER_UNIT, time.monotonic())

    def grant(self, gateway_id: str, secret: str, scope: str | None, address: str) -> Grant:
        """A token for whoever knows a gateway's secret.

        Args:
            scope: what is asked for, separated by spaces; None for all the gateway may have.

        Raises:
            OAuthRefused: wrong name or secret, or a scope the gateway does not have.
            TooMany: more tokens or failed attempts than the client may have.
        """
        registration = self._registry.authenticate(gateway_id, secret)
        if registration is None:
            # What a stranger says it is called may be a secret in the wrong field: it is not written down.
            known = gateway_id if any(gateway_id == each.gateway_id for each in self._registry.all()) else "?"
            self._refused(known, "unknown, revoked, or the wrong secret", address)
            raise OAuthRefused("invalid_client", "unknown client, or the wrong secret")
        if wait := self._usage.wait(gateway_id, time.monotonic()):
            raise TooMany("requests", wait)
        self._usage.charge(gateway_id, TOKEN_UNITS, time.monotonic())
        asked = set(scope.split()) if scope else registration.scopes
        scopes = frozenset(each for each in registration.scopes if each in asked)
        if not scopes or len(scopes) < len(asked):
            self._refused(gateway_id, "asks for a scope it does not have", address)
            raise OAuthRefused(
                "invalid_scope", f"this client may have: {' '.join(sorted(registration.scopes))}"
            )
        self.audit.write(
            Action.TOKEN_ISSUED, gateway=gateway_id, scope=" ".join(sorted(scopes)), address=address
        )
        return Grant(self._tokens.issue(registration, scopes), self._tokens.lifetime_s, scopes)

    def note(self, caller: Caller, refused: Iterable[NotAllowed]) -> None:
        """Write down that a gateway spoke for another's devices, once a minute for each and for few."""
        gateway_id, now = caller.gateway_id or "", time.monotonic()
        for each in refused:
            if not self._told.take(f"{gateway_id}/{each.field}/{each.claimed}", now):
                continue
            if self._lines.take(gateway_id, now):
                self.audit.write(
                    Action.READING_REFUSED, gateway=gateway_id, reason=str(each), claimed=each.claimed
                )
            else:
                self._left_out[gateway_id] += 1
        if self._left_out[gateway_id] and self._summed_up.take(gateway_id, now):
            reason = f"{self._left_out.pop(gateway_id)} more of such lines are left out"
            self.audit.write(Action.READING_REFUSED, gateway=gateway_id, reason=reason)

    def _bearer(self, authorization: str | None, address: str) -> Caller:
        scheme, _, token = (authorization or "").partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            self._turned_away("no token", address)
            raise Unauthorized("a bearer token of this service is needed", invalid=False)
        try:
            return self._caller(token.strip())
        except InvalidToken as error:
            self._turned_away(str(error), address)
            raise Unauthorized(str(error), invalid=True) from None

    def _caller(self, token: str) -> Caller:
        claims = self._tokens.verify(token)
        registration = self._registry.active(claims.gateway_id)
        if registration is None or registration.added.isoformat() != claims.registered:
            raise InvalidToken("the gateway's registration was revoked")
        scopes = claims.scopes & registration.scopes
        return Caller(claims.gateway_id, scopes, registration.devices, registration.patients)

    def _turned_away(self, reason: str, address: str) -> None:
        """Write down a request without a good token, within bounds."""
        if self._strangers.take(network_of(address), time.monotonic()):
            self.audit.write(Action.ACCESS_REFUSED, gateway="?", reason=reason, address=address)

    def _refused(self, gateway_id: str, reason: str, address: str) -> None:
        """Count a refused request for a token and write it down, or refuse to talk at all."""
        now, source = time.monotonic(), network_of(address)
        if wait := self._failures.wait(source, now):
            raise TooMany("refused attempts", wait)
        self._failures.charge(source, 1, now)
        self.audit.write(Action.TOKEN_REFUSED, gateway=gateway_id, reason=reason, address=address)


def network_of(address: str) -> str:
    """An address as one client: itself, or the /64 of an IPv6 address, which one machine has to itself."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, IPv6Address):
        return str(parsed.ipv4_mapped or parsed.packed[:8].hex())
    return str(parsed)
