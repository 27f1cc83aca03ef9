"""Exponential back-off with jitter."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(slots=True)
class Backoff:
    """Delays between the attempts of one operation.

    Attributes:
        first_s: longest delay after the first failure.
        cap_s: longest delay at all.
        random: returns numbers from 0 up to 1.
        failures: failures since the last success.
    """

    first_s: float
    cap_s: float
    random: Callable[[], float]
    failures: int = field(default=0, init=False)

    def after_failure(self) -> float:
        """Count a failure; return the seconds to wait: half to all of a time that doubles each time."""
        doubled = self.first_s * 2.0 ** min(self.failures, 30)
        self.failures += 1
        return min(self.cap_s, doubled) * (0.5 + 0.5 * self.random())

    def reset(self) -> None:
        """Count a success."""
        self.failures = 0
