"""Access to the page: log in once with the PIN, then a signed cookie that stays valid across restarts."""

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
COOKIE_LIFETIME_S = 30 * 24 * 3600
_MAX_FAILURES, _BLOCKED_S = 5, 60.0
_KEY_BYTES = 32


class Access:
    """Checks PINs and cookies.

    Args:
        key: signs cookies.
        pin: None if the page needs no login, because only this machine can reach it.
        clock: monotonic clock, in seconds.
    """

    def __init__(self, key: bytes, pin: str | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._signer = URLSafeTimedSerializer(key, salt=f"page:{pin}")
        self._pin, self._clock = pin, clock
        self._failures: deque[float] = deque(maxlen=_MAX_FAILURES)

    @property
    def open(self) -> bool:
        """Whether the page needs no login."""
        return self._pin is None

    @property
    def blocked(self) -> bool:
        """Whether there were too many wrong PINs within the last minute."""
        return len(self._failures) == _MAX_FAILURES and self._clock() - self._failures[0] < _BLOCKED_S

    def check_pin(self, pin: str) -> bool:
        """Return whether a PIN is correct; counts wrong ones, and refuses every PIN while blocked."""
        if self._pin is None:
            return True
        if self.blocked:
            return False
        if compare_digest(pin.encode(), self._pin.encode()):
            return True
        self._failures.append(self._clock())
        return False

    def cookie(self, name: str) -> str:
        """Return a cookie for a user; it becomes invalid when the PIN changes."""
        return self._signer.dumps(name)

    def user_of(self, cookie: str | None) -> str | None:
        """Return the user of a cookie; None if it is missing, forged or expired."""
        try:
            name = self._signer.loads(cookie or "", max_age=COOKIE_LIFETIME_S)
        except BadSignature:
            return None
        return name if isinstance(name, str) else None


def load_key(path: Path) -> bytes:
    """Return the key in a file, which is created, readable by its owner only, if there is none.

    If it cannot be written, the key is valid for this run only: users log in again after a restart.
    """
    key = secrets.token_bytes(_KEY_BYTES)
    try:
        if path.exists() and len(stored := path.read_bytes()) == _KEY_BYTES:
            return stored
        path.unlink(missing_ok=True)  # incomplete, because the disk was full
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(key)
    except OSError as error:
        log.warning("cannot store the key of the page's cookies: %s", error)
    return key
