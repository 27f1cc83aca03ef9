"""A bracelet's clock: how wrong it is, and when a record was truly measured. Pure.

A bracelet's own time of a record is never changed, it is the record's identity; the true time stands beside
it. When the gateway sets a clock, records stamped before that are still in flash, perhaps for days: each
setting is remembered as an era, so that they can be dated whenever they come.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from edge_gateway.outbox.device_queries import IN_DOUBT, ClockEra
from vitals.gatt.bracelet import BraceletRecord, BraceletStatus, RecordFlag, StatusFlag
from vitals.limits import LATE_AFTER

TOLERATED_MS = 1000
"""A clock this near the true time is taken at its word: 50 ppm of drift take six hours to get there."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)


@dataclass(frozen=True, slots=True)
class BraceletClock:
    """What is known about a bracelet's clock.

    Attributes:
        status: the bracelet's latest word about itself.
        arrived: when the status came in, UTC.
        eras: times at which the clock was set, oldest first.
    """

    status: BraceletStatus
    arrived: datetime
    eras: tuple[ClockEra, ...] = ()

    @property
    def is_set(self) -> bool:
        """Whether it was ever set since the restart; else it counts from there."""
        return bool(self.status.flags & StatusFlag.CLOCK_SET)

    @property
    def offset_ms(self) -> int:
        """How far it is behind the true time."""
        return milliseconds(self.arrived) - self.status.clock_ms

    @property
    def needs_setting(self) -> bool:
        """Whether it is not set, or not well."""
        return not self.is_set or abs(self.offset_ms) > TOLERATED_MS

    @property
    def ending_era(self) -> ClockEra:
        """The era that ends when the clock is set now."""
        oldest, newest = self.status.oldest_seq, self.status.newest_seq
        never_measured = oldest > newest == 0
        before = 0 if never_measured else newest + 1
        return ClockEra(
            self.status.boot, before, self.offset_ms, milliseconds(self.arrived), was_set=self.is_set
        )

    def contradicts(self, record: BraceletRecord, arrived: datetime) -> bool:
        """Whether a record that came live shows that the clock was changed, or lost, since.

        Raises:
            OverflowError: its time lies beyond the calendar.
        """
        lost = self.is_set and not record.flags & RecordFlag.CLOCK_SET and self._era_of(record) is None
        return lost or abs(arrived - self._dated(record, arrived)) > LATE_AFTER

    def moment(self, record: BraceletRecord, arrived: datetime) -> datetime:
        """When a record was measured, as well as can be known; never later than it arrived.

        Where neither its clock nor an era dates a record: one of an earlier restart is from before this one,
        and any other can be dated only by its arrival.

        Raises:
            OverflowError: its time lies beyond the calendar.
        """
        return min(arrived, self._dated(record, arrived))

    def _dated(self, record: BraceletRecord, arrived: datetime) -> datetime:
        """What its stamp says once corrected; in the future where a clock is ahead and nobody knows why."""
        stamped = moment(record.device_time_ms)
        if era := self._era_of(record):
            return stamped + era.offset_ms * _MILLISECOND
        if record.flags & RecordFlag.CLOCK_SET:
            if record.boot == self.status.boot and self.is_set and self.needs_setting:
                return stamped + self.offset_ms * _MILLISECOND
            return stamped
        if self.is_set:
            return arrived
        started = self.arrived - self.status.clock_ms * _MILLISECOND
        return started if record.boot != self.status.boot else stamped - _EPOCH + started

    def _era_of(self, record: BraceletRecord) -> ClockEra | None:
        """The era whose clock stamped a record."""
        was_set = bool(record.flags & RecordFlag.CLOCK_SET)
        eras = [era for era in self.eras if era.boot == record.boot and era.was_set is was_set]
        for era in eras:
            if record.seq < era.before_seq:
                return era
        last = eras[-1] if eras else None
        if last is None or record.seq >= last.before_seq + IN_DOUBT:
            return None
        as_is = abs(record.device_time_ms - last.set_ms)
        as_before = abs(record.device_time_ms + last.offset_ms - last.set_ms)
        return last if as_before < as_is else None


def described(offset_ms: int) -> str:
    """How far a clock is off, in words: "3 h behind", "365 days ahead"."""
    seconds = abs(offset_ms) / 1000
    for unit, length in (("days", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit} {'behind' if offset_ms > 0 else 'ahead'}"
    return f"{seconds:.1f} s {'behind' if offset_ms > 0 else 'ahead'}"


def milliseconds(at: datetime) -> int:
    """Milliseconds since 1970 UTC."""
    return round((at - _EPOCH) / _MILLISECOND)


def moment(ms: int) -> datetime:
    """The time of a number of milliseconds since 1970 UTC.

    Raises:
        OverflowError: beyond the calendar.
    """
    return _EPOCH + ms * _MILLISECOND
