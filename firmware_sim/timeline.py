"""Simulated time: real time or faster; a fast run starts in the past so that it ends now."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Timeline:
    """A simulated clock.

    Attributes:
        start_ms: simulated time at the start, milliseconds since 1970 UTC.
        speed: simulated seconds per real second.
        started_s: value of `monotonic` at the start.
        monotonic: monotonic clock, in real seconds.
    """

    start_ms: int
    speed: float
    started_s: float
    monotonic: Callable[[], float] = time.monotonic

    @classmethod
    def begin(cls, speed: float, duration_s: float | None, start: datetime | None = None) -> Timeline:
        """Return a clock that starts now.

        Args:
            speed: simulated seconds per real second.
            duration_s: simulated seconds it will run; a fast clock starts early enough to end now.
            start: simulated start time, overrides that.
        """
        if start is None:
            ahead_s = (duration_s or 0) * (1 - 1 / speed) if speed > 1 else 0
            start = datetime.now(UTC) - timedelta(seconds=ahead_s)
        return cls(milliseconds(start), speed, time.monotonic())

    def now_ms(self) -> int:
        """Return the simulated time, milliseconds since 1970 UTC."""
        return self.start_ms + round((self.monotonic() - self.started_s) * self.speed * 1000)

    def seconds_until(self, simulated_ms: int) -> float:
        """Return the real seconds until a simulated time; negative if it has passed."""
        due = self.started_s + (simulated_ms - self.start_ms) / 1000 / self.speed
        return due - self.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Sleep for this many simulated seconds."""
        await asyncio.sleep(seconds / self.speed)


def milliseconds(moment: datetime) -> int:
    """Return a time as milliseconds since 1970 UTC, rounded."""
    return round((moment - _EPOCH) / timedelta(milliseconds=1))


def moment(ms: int) -> datetime:
    """Return the time that is this many milliseconds after 1970 UTC."""
    return _EPOCH + timedelta(milliseconds=ms)
