"""Simulated time: real time, or faster, and ending now rather than in a future nobody would accept."""

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
        start_ms: simulated time when it was made, milliseconds since 1970 UTC.
        speed: simulated seconds in a real one.
        began_s: reading of `monotonic` when it was made.
        monotonic: steady real seconds.
    """

    start_ms: int
    speed: float
    began_s: float
    monotonic: Callable[[], float] = time.monotonic

    @classmethod
    def begin(cls, speed: float, duration_s: float | None, start: datetime | None = None) -> Timeline:
        """A clock that starts now.

        Args:
            speed: simulated seconds in a real one.
            duration_s: simulated seconds it will run; a fast clock starts so long ago that it ends now.
            start: simulated time to begin at, instead.
        """
        if start is None:
            ahead_s = (duration_s or 0) * (1 - 1 / speed) if speed > 1 else 0
            start = datetime.now(UTC) - timedelta(seconds=ahead_s)
        return cls(milliseconds(start), speed, time.monotonic())

    def now_ms(self) -> int:
        """Simulated time, milliseconds since 1970 UTC."""
        return self.start_ms + round((self.monotonic() - self.began_s) * self.speed * 1000)

    def seconds_until(self, simulated_ms: int) -> float:
        """Real seconds until a simulated moment; negative when it has passed."""
        due = self.began_s + (simulated_ms - self.start_ms) / 1000 / self.speed
        return due - self.monotonic()

    async def pass_by(self, seconds: float) -> None:
        """Let simulated seconds pass."""
        await asyncio.sleep(seconds / self.speed)


def milliseconds(moment: datetime) -> int:
    """Milliseconds since 1970 UTC, rounded."""
    return round((moment - _EPOCH) / timedelta(milliseconds=1))


def moment(ms: int) -> datetime:
    """The time of a number of milliseconds since 1970 UTC."""
    return _EPOCH + timedelta(milliseconds=ms)
