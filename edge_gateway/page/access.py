"""Who may use the page: a PIN once, then a signed cookie that also survives a restart of the gateway."""

from __future__ import annotations

import logging
import os
import secrets
import time
from collections import deque
from collections.abc import Callable
from hmac import compare_digest
from pathlib import Path

from itsdangerous import BadSignature, URLSafeTimedSerializer

log = logging.getLogger(__name__)

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

    Where the disk takes no new one, it is for this run only: people then log in again after a restart.
    """
    key = secrets.token_bytes(_KEY_BYTES)
    try:
        if path.exists() and len(kept := path.read_bytes()) == _KEY_BYTES:
            return kept
        path.unlink(missing_ok=True)  # a full disk left half a one
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(key)
    except OSError as error:
        log.warning("the page's key is not kept: %s", error)
    return key
