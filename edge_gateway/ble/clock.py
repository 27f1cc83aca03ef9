"""A bracelet's clock: how far it is off, and when a record was really measured. No I/O.

The bracelet's own time of a record is part of the record's identity and is never changed; the corrected time
is stored beside it. When the gateway sets a clock, flash may hold records with the old time for days. So each
setting is stored as an era, from which those records are dated when they arrive.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from edge_gateway.outbox.device_queries import IN_DOUBT, ClockEra
from vitals.gatt.bracelet import BraceletRecord, BraceletStatus, RecordFlag, StatusFlag
from vitals.limits import LATE_AFTER

TOLERATED_MS = 1000
"""A clock within this of the true time is left as it is: 50 ppm of drift reach it after six hours."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)


@dataclass(frozen=True, slots=True)
class BraceletClock:
    """What is known about a bracelet's clock.

    Attributes:
        status: the bracelet's latest status.
        arrived: when the status arrived, UTC.
        eras: the eras before each setting of the clock, oldest first.
    """

    status: BraceletStatus
    arrived: datetime
    eras: tuple[ClockEra, ...] = ()

    @property
    def is_set(self) -> bool:
        """Whether it was set since the restart; if not, it counts from the restart."""
        return bool(self.status.flags & StatusFlag.CLOCK_SET)

    @property
    def offset_ms(self) -> int:
        """How far it is behind the true time, milliseconds."""
        return milliseconds(self.arrived) - self.status.clock_ms

    @property
    def needs_setting(self) -> bool:
        """Whether it is not set, or off by more than is tolerated."""
        return not self.is_set or abs(self.offset_ms) > TOLERATED_MS

    @property
    def ending_era(self) -> ClockEra:
        """The era that ends if the clock is set now."""
        oldest, newest = self.status.oldest_seq, self.status.newest_seq
        never_measured = oldest > newest == 0
        before = 0 if never_measured else newest + 1
        return ClockEra(
            self.status.boot, before, self.offset_ms, milliseconds(self.arrived), was_set=self.is_set
        )

    def contradicts(self, record: BraceletRecord, arrived: datetime) -> bool:
        """Return whether a live record shows that the clock was changed or lost since the status.

        Raises:
            OverflowError: the record's time is outside the calendar.
        """
        lost = self.is_set and not record.flags & RecordFlag.CLOCK_SET and self._era_of(record) is None
        return lost or abs(arrived - self._dated(record, arrived)) > LATE_AFTER

    def moment(self, record: BraceletRecord, arrived: datetime) -> datetime:
        """Return when a record was measured, to the best of what is known; never after its arrival.

        If neither the clock nor an era dates it, a record of an earlier restart is dated at this restart, and
        any other record at its arrival.

        Raises:
            OverflowError: the record's time is outside the calendar.
        """
        return min(arrived, self._dated(record, arrived))

    def _dated(self, record: BraceletRecord, arrived: datetime) -> datetime:
        """Return a record's corrected time; it is in the future if a clock is ahead for an unknown reason."""
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
        """Return the era in which a record got its time."""
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
    """Return how far a clock is off, in words: "3 h behind", "365 days ahead"."""
    seconds = abs(offset_ms) / 1000
    for unit, length in (("days", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit} {'behind' if offset_ms > 0 else 'ahead'}"
    return f"{seconds:.1f} s {'behind' if offset_ms > 0 else 'ahead'}"


def milliseconds(at: datetime) -> int:
    """Return milliseconds since 1970 UTC."""
    return round((at - _EPOCH) / _MILLISECOND)


def moment(ms: int) -> datetime:
    """Return the time of a number of milliseconds since 1970 UTC.

    Raises:
        OverflowError: outside the calendar.
    """
    return _EPOCH + ms * _MILLISECOND
