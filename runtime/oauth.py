"""OAuth 2.0 client credentials (RFC 6749, section 4.4) for httpx."""

from __future__ import annotations

import time
from base64 import b64encode
from collections.abc import Callable, Generator
from urllib.parse import quote_plus

import httpx

from vitals.errors import KidjamoError

_RENEW_AT = 0.8
"""Share of a token's lifetime after which the next one is requested."""
_RENEWAL_RETRY_S = 10.0
"""Pause after a failed renewal while the old token is still valid."""


class TokenRequestFailed(KidjamoError):
    """The authorization server issued no token.

    Attributes:
        response: its refusal; None where it answered 200 without a token.
    """

    def __init__(self, reason: str, response: httpx.Response | None = None) -> None:
        super().__init__(f"no token: {reason}")
        self.response = response


class ClientCredentials(httpx.Auth):
    """Adds an access token to each request.

    A token is renewed before it expires. A request that is answered with 401 is sent once more with a new
    token.

    Args:
        secret: returns the client's secret; called for each token, so that the secret can be replaced.
        clock: seconds of a monotonic clock.

    Raises:
        TokenRequestFailed: from the request that needs the token.
    """

    requires_response_body = True

    def __init__(
        self,
        client_id: str,
        secret: Callable[[], str],
        token_url: str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client_id, self._secret, self._token_url, self._clock = client_id, secret, token_url, clock
        self._token, self._renew_at, self._expires_at = "", 0.0, 0.0

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """See httpx.Auth."""
        if self._clock() >= self._renew_at:
            if self._clock() < self._expires_at:
                # Requests made meanwhile use the old token.
                self._renew_at = self._clock() + _RENEWAL_RETRY_S
            self._store((yield self._token_request(request)), self._clock())
        used = self._token
        response = yield _with_token(request, used)
        if response.status_code == httpx.codes.UNAUTHORIZED:
            if self._token == used:
                self._expires_at = 0.0
                self._store((yield self._token_request(request)), self._clock())
            yield _with_token(request, self._token)

    def _token_request(self, request: httpx.Request) -> httpx.Request:
        return httpx.Request(
            "POST",
            self._token_url,
            data={"grant_type": "client_credentials"},
            headers={"Authorization": self._basic()},
            extensions=request.extensions,  # its timeouts
        )

    def _basic(self) -> str:
        credentials = f"{quote_plus(self._client_id)}:{quote_plus(self._secret())}"  # section 2.3.1
        return f"Basic {b64encode(credentials.encode()).decode()}"

    def _store(self, response: httpx.Response, requested_at: float) -> None:
        if response.status_code != httpx.codes.OK:
            if requested_at < self._expires_at:
                return
            raise TokenRequestFailed(f"HTTP {response.status_code}{_error_code(response)}", response)
        try:
            document = response.json()
            self._token, lifetime_s = str(document["access_token"]), float(document["expires_in"])
        except (ValueError, TypeError, KeyError):
            raise TokenRequestFailed("the response does not contain one") from None
        self._renew_at, self._expires_at = requested_at + _RENEW_AT * lifetime_s, requested_at + lifetime_s


def _with_token(request: httpx.Request, token: str) -> httpx.Request:
    request.headers["Authorization"] = f"Bearer {token}"
    return request


def _error_code(response: httpx.Response) -> str:
    """Return the `error` of RFC 6749, section 5.2, in parentheses."""
    try:
        return f" ({str(response.json()['error'])[:40]})"
    except (ValueError, TypeError, KeyError):
        return ""
