"""When an alarm may end: enough valid values within the clear limits, for long enough, none outside between.

Missing values are no evidence: they never count towards recovery, and a long gap starts it anew.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from pydantic import BaseModel

from vitals.limits import BY_FIELD, VITALS, AlarmLimits
from vitals.reading import Reading, UtcTime

MIN_VALUES = 3
_LONGEST_GAP = timedelta(minutes=5)
"""Longest gap within a stretch, so that a device which measures every few minutes can end an alarm."""

_MONITORED = tuple((vital.field, vital.alarm, *vital.clear_range) for vital in VITALS if vital.alarm)


class Stretch(BaseModel):
    """Consecutive values of one vital within its clear limits.

    Attributes:
        first, last: when the first and the latest of them was measured.
        count: how many there were.
    """

    first: UtcTime
    last: UtcTime
    count: int

    def is_enough(self, hold: timedelta) -> bool:
        """Return whether the alarm may end."""
        return self.count >= MIN_VALUES and self.last - self.first >= hold


class Recovery(BaseModel):
    """The current stretch of each vital of one child; none where the latest valid value was outside."""

    stretches: dict[str, Stretch] = {}

    def observe(self, reading: Reading, measured: datetime) -> None:
        """Add a reading.

        A doubtful value (motion, low perfusion, no contact) never counts towards recovery, but does end a
        stretch when outside the clear limits. A value from before the current stretch changes nothing.
        """
        for field, alarm, low, high in _MONITORED:
            value = reading.measurements.plausible(field)
            if value is None:
                continue
            if not low <= value <= high:
                self._interrupt(field, measured)
            elif not _is_doubtful(reading):
                self._extend(field, measured, alarm)

    def is_complete(self, fields: tuple[str, ...]) -> bool:
        """Return whether all these vitals have been within their clear limits for long enough."""
        return all(
            (stretch := self.stretches.get(field)) is not None and stretch.is_enough(_hold(field))
            for field in fields
        )

    def _interrupt(self, field: str, measured: datetime) -> None:
        stretch = self.stretches.get(field)
        if stretch and measured >= stretch.first:
            del self.stretches[field]

    def _extend(self, field: str, measured: datetime, alarm: AlarmLimits) -> None:
        stretch = self.stretches.get(field)
        if stretch is None or measured - stretch.last > max(alarm.hold, _LONGEST_GAP):
            self.stretches[field] = Stretch(first=measured, last=measured, count=1)
        elif measured > stretch.last:
            stretch.last, stretch.count = measured, stretch.count + 1


def _hold(field: str) -> timedelta:
    alarm = BY_FIELD[field].alarm
    if alarm is None:
        raise ValueError(f"{field} has no alarm")
    return alarm.hold


def _is_doubtful(reading: Reading) -> bool:
    signal = reading.signal
    return signal is not None and bool(signal.motion or signal.low_perfusion or signal.contact is False)
