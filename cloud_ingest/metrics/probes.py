"""What the API depends on, watched in the background: honest within two seconds, never waited for."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable
from typing import Any

log = logging.getLogger(__name__)

PERIOD_S = 0.3
FRESH_S = 1.6
"""A component counts as up only if it answered this recently: one that hangs is down too."""


class Probe:
    """Calls a check over and over on a thread of its own and remembers when it last passed.

    Args:
        name: what is watched, for the log.
        check: returns when the component is there, raises when not; may hang.
        clock: monotonic seconds.
    """

    def __init__(
        self, name: str, check: Callable[[], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._name, self._check, self._clock = name, check, clock
        self._passed_at: float | None = None
        self._failure = "not asked yet"
        self._asked = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"probe-{name}", daemon=True)

    def start(self) -> None:
        """Begin to watch."""
        self._thread.start()

    def stop(self) -> None:
        """Stop watching; does not wait for a check that hangs."""
        self._stopping.set()
        self._thread.join(1.5)

    @property
    def up(self) -> bool:
        """Whether the component answered lately."""
        return self.silence() < FRESH_S

    def silence(self) -> float:
        """Seconds since the component was last seen; infinite when it failed since, or was never seen."""
        if self._failure or self._passed_at is None:
            return math.inf
        return self._clock() - self._passed_at

    def describe(self) -> dict[str, Any]:
        """The component's state for `/health`."""
        if self.up:
            return {"status": "up"}
        return {"status": "down", "reason": self._failure or "does not answer"}

    def wait_for_answer(self, timeout: float) -> bool:
        """Wait for the first check to pass or fail, at most `timeout` seconds; says whether it passed."""
        self._asked.wait(timeout)
        return self.up

    def _run(self) -> None:
        while not self._stopping.is_set():
            self.check_once()
            self._stopping.wait(PERIOD_S)

    def check_once(self) -> None:
        """Ask once and take note of the answer."""
        try:
            self._check()
        except Exception as error:  # noqa: BLE001 - the thread's outer edge: any failure means the component is down
            self._note(f"{type(error).__name__}: {error}".strip().splitlines()[0], None)
        else:
            self._note("", self._clock())

    def _note(self, failure: str, passed_at: float | None) -> None:
        if bool(failure) != bool(self._failure):
            log.log(logging.WARNING if failure else logging.INFO, "%s is %s", self._name, failure or "there")
        self._failure = failure
        self._passed_at = self._passed_at if passed_at is None else passed_at
        self._asked.set()
