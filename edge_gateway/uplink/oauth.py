"""Access tokens by client credentials (RFC 6749, section 4.4), renewed before they run out."""

from __future__ import annotations

import time
from base64 import b64encode
from collections.abc import Callable, Generator
from pathlib import Path
from urllib.parse import quote_plus

import httpx

from edge_gateway.config import ApiConfig
from edge_gateway.errors import DeliveryFailed

_RENEW_AT = 0.8
"""Share of a token's life after which the next one is fetched."""
_NEXT_TRY_S = 10.0
"""Until a renewal that failed is tried again, for as long as the old token is good."""
_SHORTEST_SECRET = 32
"""Characters; the API makes secrets of 43."""


class ClientCredentials(httpx.Auth):
    """Puts a token on each request; a request the API answers with 401 is sent once more with a fresh one.

    Where no token can be had the request ends in DeliveryFailed: the same as an API that is away.
    """

    requires_response_body = True

    def __init__(
        self, client_id: str, secret_file: Path, token_url: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._client_id, self._secret_file, self._url, self._clock = client_id, secret_file, token_url, clock
        self._token, self._renew_at, self._ends_at = "", 0.0, 0.0

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """See httpx.Auth."""
        if self._clock() >= self._renew_at:
            if self._clock() < self._ends_at:
                self._renew_at = self._clock() + _NEXT_TRY_S  # others go on with the old one meanwhile
            self._keep((yield self._request_for_token(request)), self._clock())
        used = self._token
        answer = yield _with_token(request, used)
        if answer.status_code == httpx.codes.UNAUTHORIZED:
            if self._token == used:
                self._ends_at = 0.0
                self._keep((yield self._request_for_token(request)), self._clock())
            yield _with_token(request, self._token)

    def _request_for_token(self, request: httpx.Request) -> httpx.Request:
        return httpx.Request(
            "POST",
            self._url,
            data={"grant_type": "client_credentials"},
            headers={"Authorization": self._basic()},
            extensions=request.extensions,  # the time it may take
        )

    def _basic(self) -> str:
        pair = f"{quote_plus(self._client_id)}:{quote_plus(self._secret())}"  # section 2.3.1
        return f"Basic {b64encode(pair.encode()).decode()}"

    def _secret(self) -> str:
        """Read anew each time, so that it can be replaced while the gateway runs."""
        try:
            secret = self._secret_file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise DeliveryFailed(f"client secret: {error}") from error
        if len(secret) < _SHORTEST_SECRET:
            raise DeliveryFailed(f"client secret: {self._secret_file} does not hold the secret the API made")
        return secret

    def _keep(self, answer: httpx.Response, asked_at: float) -> None:
        if answer.status_code != httpx.codes.OK:
            if asked_at < self._ends_at:
                return
            raise DeliveryFailed(f"no token: HTTP {answer.status_code}{_why(answer)}", retry_after(answer))
        try:
            document = answer.json()
            self._token, lives = str(document["access_token"]), float(document["expires_in"])
        except (ValueError, TypeError, KeyError):
            raise DeliveryFailed("no token: the answer does not hold one") from None
        self._renew_at, self._ends_at = asked_at + _RENEW_AT * lives, asked_at + lives


def credentials_of(config: ApiConfig) -> ClientCredentials | None:
    """The credentials the configuration names, if any."""
    if config.client_id is None or config.client_secret_file is None:
        return None
    return ClientCredentials(config.client_id, config.client_secret_file, config.token_address)


def retry_after(answer: httpx.Response) -> float | None:
    """Seconds an answer asks to be left alone, where it does."""
    wait = answer.headers.get("Retry-After", "")
    return float(wait) if wait.isdecimal() else None


def _with_token(request: httpx.Request, token: str) -> httpx.Request:
    request.headers["Authorization"] = f"Bearer {token}"
    return request


def _why(answer: httpx.Response) -> str:
    """The error's name as RFC 6749 has it."""
    try:
        return f" ({str(answer.json()['error'])[:40]})"
    except (ValueError, TypeError, KeyError):
        return ""
