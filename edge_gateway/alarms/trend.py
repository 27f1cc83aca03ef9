"""The last hours of one vital in minutes, and their drawing as SVG. Pure.

A minute holds its lowest and highest value: a short fall is drawn however many good values stand beside it.
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
        """Take in a value, in any order; the oldest of more than four hours are forgotten."""
        minute = _minute(measured)
        low, high = self.minutes.get(minute, (value, value))
        self.minutes[minute] = (min(low, value), max(high, value))
        if len(self.minutes) > _MINUTES:
            del self.minutes[min(self.minutes)]

    def range(self, now: datetime) -> tuple[float, float] | None:
        """Lowest and highest value of the last hours; None where there is none."""
        seen = [pair for minute, pair in self.minutes.items() if 0 <= _minute(now) - minute < _MINUTES]
        return (min(low for low, _ in seen), max(high for _, high in seen)) if seen else None

    def paths(self, now: datetime, bottom: float, top: float) -> Iterator[str]:
        """SVG paths in a box of `WIDTH` × `HEIGHT`, one for each stretch without a gap; now is at the right.

        Args:
            bottom, top: values at the lower and upper edge; what lies beyond is drawn at the edge.
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
