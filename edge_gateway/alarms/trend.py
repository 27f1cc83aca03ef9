"""The last hours of one vital by the minute, and their SVG paths. Pure.

Each minute keeps its lowest and highest value, so that a short drop among many normal values is still drawn.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime

_MINUTES = 4 * 60
HOURS = _MINUTES / 60
WIDTH, HEIGHT = _MINUTES, 60


@dataclass(slots=True)
class Trend:
    """Lowest and highest value of each minute, by minutes since 1970."""

    minutes: dict[int, tuple[float, float]] = field(default_factory=dict)

    def add(self, value: float, measured: datetime) -> None:
        """Add a value, in any order; minutes beyond the latest four hours are dropped."""
        minute = _minute(measured)
        low, high = self.minutes.get(minute, (value, value))
        self.minutes[minute] = (min(low, value), max(high, value))
        if len(self.minutes) > _MINUTES:
            del self.minutes[min(self.minutes)]

    def range(self, now: datetime) -> tuple[float, float] | None:
        """Return the lowest and highest value of the last hours; None if there is none."""
        seen = [pair for minute, pair in self.minutes.items() if 0 <= _minute(now) - minute < _MINUTES]
        return (min(low for low, _ in seen), max(high for _, high in seen)) if seen else None

    def paths(self, now: datetime, bottom: float, top: float) -> Iterator[str]:
        """Yield SVG paths in a box of `WIDTH` × `HEIGHT`, one per stretch without gaps, up to `now`.

        Args:
            bottom, top: values at the lower and upper edge; values beyond are drawn at the edge.
        """
        last = _minute(now)

        def y(value: float) -> float:
            share = (min(max(value, bottom), top) - bottom) / (top - bottom)
            return round(HEIGHT * (1 - share), 1)

        stretch: list[str] = []
        for minute in range(last - _MINUTES + 1, last + 2):
            pair = self.minutes.get(minute)
            if pair is None:
                if stretch:
                    yield "M" + "L".join(stretch)
                stretch = []
                continue
            x = minute - last + _MINUTES - 1
            stretch += [f"{x} {y(pair[1])}", f"{x} {y(pair[0])}"]


def _minute(at: datetime) -> int:
    return int(at.timestamp() // 60)
