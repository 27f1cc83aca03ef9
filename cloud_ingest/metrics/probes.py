"""Background checks of what the API depends on; a failure shows within two seconds and no request waits."""

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
"""A component is up only if it answered this recently; one that hangs is down too."""


class Probe:
    """A check that runs periodically on its own thread.

    Args:
        name: the component, for the log.
        check: returns when the component is available, raises when not; may hang.
        clock: monotonic seconds.
    """

    def __init__(
        self, name: str, check: Callable[[], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._name, self._check, self._clock = name, check, clock
        self._passed_at: float | None = None
        self._failure = "not checked yet"
        self._checked = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"probe-{name}", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Stop the thread; wait at most 1.5 s for a check that hangs."""
        self._stopping.set()
        self._thread.join(1.5)

    @property
    def up(self) -> bool:
        """Whether the component answered in the last 1.6 seconds."""
        return self.silence() < FRESH_S

    def silence(self) -> float:
        """Return the seconds since the last answer; infinite where the last check failed, or none passed."""
        if self._failure or self._passed_at is None:
            return math.inf
        return self._clock() - self._passed_at

    def describe(self) -> dict[str, Any]:
        """Return the component's state for `/health`."""
        if self.up:
            return {"status": "up"}
        return {"status": "down", "reason": self._failure or "does not answer"}

    def wait_for_answer(self, timeout: float) -> bool:
        """Wait at most `timeout` seconds for the first check; return whether it passed."""
        self._checked.wait(timeout)
        return self.up

    def _run(self) -> None:
        while not self._stopping.is_set():
            self.check_once()
            self._stopping.wait(PERIOD_S)

    def check_once(self) -> None:
        """Run the check once and record the result."""
        try:
            self._check()
        except Exception as error:  # noqa: BLE001 - the thread's outer edge: any failure means the component is down
            self._record(f"{type(error).__name__}: {error}".strip().splitlines()[0], None)
        else:
            self._record("", self._clock())

    def _record(self, failure: str, passed_at: float | None) -> None:
        if failure and not self._failure:
            log.warning("%s is unavailable: %s", self._name, failure)
        elif self._failure and not failure:
            log.info("%s is available", self._name)
        self._failure = failure
        self._passed_at = self._passed_at if passed_at is None else passed_at
        self._checked.set()
