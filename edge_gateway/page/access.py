"""Who may use the page: a PIN once, then a signed cookie that also survives a restart of the gateway."""

from __future__ import annotations

import os
import secrets
import time
from collections import deque
from collections.abc import Callable
from hmac import compare_digest
from pathlib import Path

from itsdangerous import BadSignature, URLSafeTimedSerializer

from edge_gateway.errors import DataDirUnavailable

COOKIE = "kidjamo_page"
LASTS_S = 30 * 24 * 3600
_MOST_ATTEMPTS, _WITHIN_S = 5, 60.0
_KEY_BYTES = 32


class Access:
    """Checks PINs and cookies.

    Args:
        key: signs cookies.
        pin: what must be known; None where the page is for this machine only.
        clock: seconds that do not jump.
    """

    def __init__(self, key: bytes, pin: str | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._signer = URLSafeTimedSerializer(key, salt=f"page:{pin}")
        self._pin, self._clock = pin, clock
        self._failures: deque[float] = deque(maxlen=_MOST_ATTEMPTS)

    @property
    def open(self) -> bool:
        """Whether no PIN is needed."""
        return self._pin is None

    @property
    def blocked(self) -> bool:
        """Whether too many wrong PINs came within the last minute."""
        return len(self._failures) == _MOST_ATTEMPTS and self._clock() - self._failures[0] < _WITHIN_S

    def admits(self, pin: str) -> bool:
        """Whether this is the PIN; a wrong one counts."""
        if self._pin is None:
            return True
        if self.blocked:
            return False
        if compare_digest(pin.encode(), self._pin.encode()):
            return True
        self._failures.append(self._clock())
        return False

    def cookie(self, name: str) -> str:
        """A cookie for somebody; changing the PIN ends it."""
        return self._signer.dumps(name)

    def who(self, cookie: str | None) -> str | None:
        """The name in a cookie; None where it is missing, forged or too old."""
        try:
            name = self._signer.loads(cookie or "", max_age=LASTS_S)
        except BadSignature:
            return None
        return name if isinstance(name, str) else None


def key_in(path: Path) -> bytes:
    """The key in a file that only its owner may read; made where there is none.

    Raises:
        DataDirUnavailable: it can be neither read nor made.
    """
    try:
        if not path.exists():
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(secrets.token_bytes(_KEY_BYTES))
        return path.read_bytes()
    except OSError as error:
        raise DataDirUnavailable(f"the page's key {path} cannot be used: {error}") from error
