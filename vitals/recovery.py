"""When a child is well again: enough valid values, for long enough, and none between that says otherwise.

Missing values prove nothing: they never make a stretch, and a long silence ends one.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from pydantic import BaseModel

from vitals.limits import HEART_RATE, SPO2, TEMPERATURE
from vitals.reading import Reading, UtcTime

_LEAST_VALUES = 3
_LONGEST_GAP = timedelta(minutes=5)
"""Longest silence within a stretch, so that a device which measures every few minutes can end an alarm."""


@dataclass(frozen=True, slots=True)
class Clear:
    """What a vital has to do until its alarm may end.

    Attributes:
        low, high: values from `low` up to `high` are well, both included.
        hold: for how long they must be.
    """

    low: float
    high: float
    hold: timedelta

    @property
    def gap(self) -> timedelta:
        """Longest time without a valid value that does not begin anew."""
        return max(self.hold, _LONGEST_GAP)


CLEAR = {
    SPO2.field: Clear(90.0, 100.0, timedelta(seconds=60)),
    HEART_RATE.field: Clear(45.0, 170.0, timedelta(seconds=60)),
    TEMPERATURE.field: Clear(25.0, 37.7, timedelta(minutes=10)),
}
"""Well inside the critical thresholds, so that a value at the boundary does not ring again and again."""


class Stretch(BaseModel):
    """Values of one vital that were well, one after the other.

    Attributes:
        first, last: when the first and the latest of them was measured.
        count: how many there were.
    """

    first: UtcTime
    last: UtcTime
    count: int

    def is_enough(self, clear: Clear) -> bool:
        """Whether the alarm may end."""
        return self.count >= _LEAST_VALUES and self.last - self.first >= clear.hold


class Recovery(BaseModel):
    """The present stretch of each vital of one child; none where the last valid value was not well."""

    stretches: dict[str, Stretch] = {}

    def observe(self, reading: Reading, measured: datetime) -> None:
        """Take in a reading.

        A value in doubt (movement, little blood flow, no contact) cannot show that a child is well; that the
        child is not well is taken at its word. One from before the present stretch changes nothing about it.
        """
        for field, clear in CLEAR.items():
            value = reading.measurements.plausible(field)
            if value is None:
                continue
            if not clear.low <= value <= clear.high:
                self._interrupt(field, measured)
            elif not _in_doubt(reading):
                self._extend(field, measured, clear)

    def is_well(self, fields: tuple[str, ...]) -> bool:
        """Whether all these vitals have been well for long enough."""
        return all(
            (stretch := self.stretches.get(field)) is not None and stretch.is_enough(CLEAR[field])
            for field in fields
        )

    def _interrupt(self, field: str, measured: datetime) -> None:
        stretch = self.stretches.get(field)
        if stretch and measured >= stretch.first:
            del self.stretches[field]

    def _extend(self, field: str, measured: datetime, clear: Clear) -> None:
        stretch = self.stretches.get(field)
        if stretch is None or measured - stretch.last > clear.gap:
            self.stretches[field] = Stretch(first=measured, last=measured, count=1)
        elif measured > stretch.last:
            stretch.last, stretch.count = measured, stretch.count + 1


def _in_doubt(reading: Reading) -> bool:
    signal = reading.signal
    return signal is not None and bool(signal.motion or signal.low_perfusion or signal.contact is False)
