"""Converts a bracelet's record to a reading. No I/O."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from edge_gateway.ble.clock import BraceletClock, moment
from vitals.errors import MalformedRecord
from vitals.gatt.bracelet import BraceletRecord, RecordFlag
from vitals.limits import LATE_AFTER
from vitals.reading import Reading, Signal, Source


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
    """Return a record's reading; None if the record holds no value.

    `device_time` is the bracelet's own time; it counts from 1970 if the clock was not set.

    Args:
        live: whether the record was notified when it was measured, not fetched from flash.

    Raises:
        MalformedRecord: the record's time is outside the calendar.
    """
    try:
        changed = live and clock.contradicts(record, arrived)
        measured = arrived if changed else clock.moment(record, arrived)
        device_time = moment(record.device_time_ms)
    except OverflowError as error:
        raise MalformedRecord("bracelet record", bytes(record), f"impossible time: {error}") from error
    if record.measurements is None:
        return None
    return Reading(
        patient_id=patient_id,
        device_id=device_id,
        timestamp=measured,
        measurements=record.measurements,
        message_id=identity,
        seq=record.seq,
        boot=record.boot,
        device_time=device_time,
        source=Source.BLE,
        late=True if not live and arrived - measured > LATE_AFTER else None,
        signal=Signal(
            contact=not record.flags & RecordFlag.NO_CONTACT,
            motion=bool(record.flags & RecordFlag.MOTION),
            low_perfusion=bool(record.flags & RecordFlag.LOW_PERFUSION),
            battery_pct=clock.status.battery_pct if live else None,
        ),
    )
