"""Waiting longer after each failure, never the same time twice, never longer than a cap."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(slots=True)
class Backoff:
    """Exponential back-off with jitter.

    Attributes:
        first_s: longest wait after the first failure.
        cap_s: longest wait ever.
        random: numbers from 0 up to 1.
        failures: in a row, since the last success.
    """

    first_s: float
    cap_s: float
    random: Callable[[], float]
    failures: int = field(default=0, init=False)

    def after_failure(self) -> float:
        """Seconds to wait now: between half and all of a time that doubles with each failure."""
        doubled = self.first_s * 2.0 ** min(self.failures, 30)
        self.failures += 1
        return min(self.cap_s, doubled) * (0.5 + 0.5 * self.random())

    def reset(self) -> None:
        """Something worked."""
        self.failures = 0
