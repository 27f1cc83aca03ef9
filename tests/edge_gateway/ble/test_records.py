"""Conversion of records to readings, with and without a clock that was set."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from edge_gateway.ble.clock import BraceletClock
from edge_gateway.ble.records import reading_of
from vitals.errors import MalformedRecord
from vitals.gatt.bracelet import BraceletRecord, BraceletStatus, RecordFlag, StatusFlag
from vitals.reading import Measurements, Reading

ARRIVED = datetime(2025, 8, 24, 10, 30, tzinfo=UTC)
ARRIVED_MS = 1_756_031_400_000
VALUES = Measurements(spo2_pct=97.0)


def clock(*, is_set: bool, clock_ms: int, boot: int = 1) -> BraceletClock:
    flags = StatusFlag.CLOCK_SET if is_set else StatusFlag(0)
    return BraceletClock(BraceletStatus(boot, flags, 55, clock_ms, 0, 9), ARRIVED)


def read(record: BraceletRecord, of: BraceletClock, *, live: bool = True) -> Reading:
    reading = reading_of(record, UUID(int=1), "b", "p", of, ARRIVED, live=live)
    assert reading is not None
    return reading


def test_record_of_a_set_clock_keeps_its_time() -> None:
    record = BraceletRecord(5, 1, ARRIVED_MS - 2500, RecordFlag.CLOCK_SET, VALUES)
    reading = read(record, clock(is_set=True, clock_ms=ARRIVED_MS))
    assert reading.timestamp == reading.device_time == ARRIVED - timedelta(seconds=2.5)
    assert (reading.seq, reading.boot, reading.late) == (5, 1, None)


def test_record_of_an_unset_clock_is_dated_by_the_status() -> None:
    record = BraceletRecord(5, 1, 40_000, RecordFlag(0), VALUES)
    reading = read(record, clock(is_set=False, clock_ms=100_000), live=False)
    assert reading.timestamp == ARRIVED - timedelta(seconds=60)
    assert reading.device_time == datetime(1970, 1, 1, 0, 0, 40, tzinfo=UTC)
    assert reading.late is True


def test_record_of_an_earlier_restart_is_dated_at_this_restart() -> None:
    record = BraceletRecord(5, 0, 990_000, RecordFlag(0), VALUES)
    reading = read(record, clock(is_set=False, clock_ms=100_000), live=False)
    assert reading.timestamp == ARRIVED - timedelta(seconds=100)


def test_record_from_before_the_clock_was_set_is_dated_by_its_arrival() -> None:
    record = BraceletRecord(5, 1, 40_000, RecordFlag(0), VALUES)
    assert read(record, clock(is_set=True, clock_ms=ARRIVED_MS)).timestamp == ARRIVED


@pytest.mark.parametrize(("age_s", "live", "late"), [(9, False, None), (11, False, True), (60, True, None)])
def test_only_old_records_from_flash_are_late(age_s: int, live: bool, late: bool | None) -> None:
    record = BraceletRecord(5, 1, ARRIVED_MS - 1000 * age_s, RecordFlag.CLOCK_SET, VALUES)
    assert read(record, clock(is_set=True, clock_ms=ARRIVED_MS), live=live).late is late


def test_flags_are_converted_to_the_signal() -> None:
    flags = RecordFlag.CLOCK_SET | RecordFlag.NO_CONTACT | RecordFlag.LOW_PERFUSION
    signal = read(BraceletRecord(5, 1, ARRIVED_MS, flags, VALUES), clock(is_set=True, clock_ms=0)).signal
    assert signal is not None
    assert (signal.contact, signal.motion, signal.low_perfusion) == (False, False, True)
    assert signal.battery_pct == 55


def test_record_without_values_is_no_reading() -> None:
    record = BraceletRecord(5, 1, ARRIVED_MS, RecordFlag.CLOCK_SET, None)
    of = clock(is_set=True, clock_ms=ARRIVED_MS)
    assert reading_of(record, UUID(int=1), "b", "p", of, ARRIVED, live=True) is None


def test_time_outside_the_calendar_is_malformed() -> None:
    record = BraceletRecord(5, 1, 2**48 - 1, RecordFlag.CLOCK_SET, VALUES)
    with pytest.raises(MalformedRecord, match="impossible time"):
        read(record, clock(is_set=True, clock_ms=ARRIVED_MS))
