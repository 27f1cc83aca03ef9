"""A bracelet's record as a reading: which moment it speaks of, and how well it could measure. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

from vitals.errors import MalformedRecord
from vitals.gatt.bracelet import BraceletRecord, BraceletStatus, RecordFlag, StatusFlag
from vitals.reading import Reading, Signal, Source

LATE_AFTER = timedelta(seconds=10)
"""A record from flash older than this was not seen when it was measured."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class BraceletClock:
    """What a bracelet's status tells about its clock.

    Attributes:
        arrived: when the status came in, UTC.
    """

    status: BraceletStatus
    arrived: datetime

    @property
    def started(self) -> datetime | None:
        """When a clock that was never set began to count: the restart; None for a clock that is set."""
        if self.status.flags & StatusFlag.CLOCK_SET:
            return None
        return self.arrived - timedelta(milliseconds=self.status.clock_ms)

    def moment(self, record: BraceletRecord, arrived: datetime) -> datetime:
        """When a record was measured, as well as can be known.

        A clock that is set is taken at its word. One that is not counts since the restart, which the status
        dates. A record of an earlier restart is from before this one; one that was measured before the clock
        was set cannot be dated any more than by its arrival.
        """
        if record.flags & RecordFlag.CLOCK_SET:
            return _EPOCH + timedelta(milliseconds=record.device_time_ms)
        if self.started is None:
            return arrived
        if record.boot != self.status.boot:
            return self.started
        return min(arrived, self.started + timedelta(milliseconds=record.device_time_ms))


def reading_of(
    record: BraceletRecord,
    identity: UUID,
    device_id: str,
    patient_id: str,
    clock: BraceletClock,
    arrived: datetime,
    *,
    live: bool,
) -> Reading | None:
    """The reading a record holds; None where its sensors gave no number.

    Args:
        live: notified as it was measured, not fetched from flash.

    Raises:
        MalformedRecord: its time lies beyond the calendar.
    """
    try:
        moment = clock.moment(record, arrived)
    except OverflowError as error:
        raise MalformedRecord("bracelet record", bytes(record), f"impossible time: {error}") from error
    if record.measurements is None:
        return None
    is_set = bool(record.flags & RecordFlag.CLOCK_SET)
    return Reading(
        patient_id=patient_id,
        device_id=device_id,
        timestamp=moment,
        measurements=record.measurements,
        message_id=identity,
        seq=record.seq,
        boot=record.boot,
        device_time=moment if is_set else None,
        source=Source.BLE,
        late=True if not live and arrived - moment > LATE_AFTER else None,
        signal=Signal(
            contact=not record.flags & RecordFlag.NO_CONTACT,
            motion=bool(record.flags & RecordFlag.MOTION),
            low_perfusion=bool(record.flags & RecordFlag.LOW_PERFUSION),
            battery_pct=clock.status.battery_pct if live else None,
        ),
    )
