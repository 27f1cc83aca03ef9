"""The firmware state; time is passed in."""

from __future__ import annotations

import pytest

from firmware_sim.firmware.bracelet import FLASH_RECORDS, Bracelet, DeviceClock
from vitals.gatt.bracelet import BraceletRecord, RecordFlag, StatusFlag
from vitals.reading import Measurements

NOON = 1_756_036_800_000
CALM = Measurements(spo2_pct=97.0, freq_card=92.0, freq_resp=18.0, temp_corp=36.8)


def new_bracelet(measured: int = 0, flash_records: int = 100) -> Bracelet:
    bracelet = Bracelet("ble-001", 5, NOON, flash_records=flash_records)
    for second in range(measured):
        bracelet.measure(CALM, NOON + 1000 * second)
    return bracelet


def stored(bracelet: Bracelet, seq: int) -> list[int]:
    return [BraceletRecord.from_bytes(data).seq for data in bracelet.stored_from(seq)]


def test_measure_numbers_stamps_and_stores_records() -> None:
    bracelet = new_bracelet()
    first = bracelet.measure(CALM, NOON)
    second = bracelet.measure(None, NOON + 1000, motion=True)
    assert first == BraceletRecord(0, 5, NOON, RecordFlag.CLOCK_SET, CALM)
    assert second == BraceletRecord(1, 5, NOON + 1000, RecordFlag.CLOCK_SET | RecordFlag.MOTION, None)
    assert stored(bracelet, 0) == [0, 1]


def test_measure_not_worn_is_flagged() -> None:
    bracelet = new_bracelet()
    bracelet.worn = False
    assert bracelet.measure(None, NOON).flags & RecordFlag.NO_CONTACT
    assert not bracelet.status(NOON).flags & StatusFlag.WORN


@pytest.mark.parametrize(("seq", "expected"), [(0, [0, 1, 2, 3]), (2, [2, 3]), (4, []), (9, [])])
def test_stored_from(seq: int, expected: list[int]) -> None:
    bracelet = new_bracelet(4)
    assert stored(bracelet, seq) == expected
    assert bracelet.count_from(seq) == len(expected)


def test_release_up_to_deletes_each_record_once() -> None:
    bracelet = new_bracelet(5)
    assert bracelet.release_up_to(2) == 3
    assert bracelet.release_up_to(2) == 0
    assert bracelet.unreleased == 2
    assert stored(bracelet, 0) == [3, 4]
    assert bracelet.release_up_to(1000) == 2
    assert bracelet.measure(CALM, NOON).seq == 5


def test_stored_from_skips_records_released_meanwhile() -> None:
    bracelet = new_bracelet(4)
    records = bracelet.stored_from(0)
    next(records)
    bracelet.release_up_to(2)
    assert [BraceletRecord.from_bytes(data).seq for data in records] == [3]


def test_flash_full_overwrites_and_counts_the_oldest() -> None:
    bracelet = new_bracelet(7, flash_records=4)
    assert stored(bracelet, 0) == [3, 4, 5, 6]
    assert bracelet.overwritten == 3
    assert (bracelet.status(NOON).oldest_seq, bracelet.status(NOON).newest_seq) == (3, 6)


@pytest.mark.parametrize("measured", [0, 3])
def test_status_flash_empty_has_oldest_above_newest(measured: int) -> None:
    bracelet = new_bracelet(measured)
    bracelet.release_up_to(100)
    status = bracelet.status(NOON)
    assert status.oldest_seq > status.newest_seq


def test_status_battery_is_empty_after_five_days() -> None:
    bracelet = new_bracelet()
    days = 24 * 3600 * 1000
    assert [bracelet.battery_pct(NOON + n * days) for n in (0, 1, 4, 5, 6)] == [100, 80, 20, 0, 0]
    bracelet.set_charge(55, NOON + 6 * days)
    assert bracelet.status(NOON + 7 * days).battery_pct == 35


def test_clock_ahead_and_unset() -> None:
    ahead = Bracelet("ble-001", 0, NOON, clock=DeviceClock(ahead_ms=1500))
    assert ahead.measure(CALM, NOON).device_time_ms == NOON + 1500
    unset = Bracelet("ble-001", 0, NOON, clock=DeviceClock(is_set=False))
    record = unset.measure(CALM, NOON + 2500)
    assert record.device_time_ms == 2500
    assert not record.flags & RecordFlag.CLOCK_SET
    assert unset.status(NOON + 3000).clock_ms == 3000


@pytest.mark.parametrize(("ppm", "gained_ms"), [(50.0, 4320), (-50.0, -4320), (0.0, 0)])
def test_clock_drifts_by_its_crystal(ppm: float, gained_ms: int) -> None:
    bracelet = Bracelet("ble-001", 0, NOON, clock=DeviceClock(drift_ppm=ppm))
    a_day = NOON + 24 * 3600 * 1000
    assert bracelet.clock_ms(a_day) - a_day == gained_ms


def test_clock_set_restarts_the_drift() -> None:
    bracelet = Bracelet("ble-001", 0, NOON, clock=DeviceClock(is_set=False, drift_ppm=50.0))
    hour = 3600 * 1000
    bracelet.clock.set_to(NOON + hour, NOON + hour)
    assert bracelet.clock_ms(NOON + hour) == NOON + hour
    assert bracelet.clock_ms(NOON + 2 * hour) == NOON + 2 * hour + 180


def test_clock_is_never_negative() -> None:
    bracelet = new_bracelet()
    bracelet.restart(NOON + 5000, clock_kept=False)
    assert bracelet.measure(CALM, NOON + 4990).device_time_ms == 0, "due before the restart"
    bracelet.clock.set_to(-1_000_000, NOON + 6000)
    assert bracelet.measure(CALM, NOON + 6000).device_time_ms == 0, "before 1970"
    assert bracelet.status(NOON + 6000).clock_ms == 0


def test_flash_holds_more_than_a_day_at_one_a_second() -> None:
    assert FLASH_RECORDS >= 24 * 3600


def test_power_off_and_restart_restores_the_charge() -> None:
    bracelet = new_bracelet(2)
    bracelet.set_charge(31, NOON)
    bracelet.power_off(NOON)
    bracelet.set_charge(0, NOON)
    bracelet.power_off(NOON + 1000)
    assert not bracelet.on
    bracelet.restart(NOON + 5000, clock_kept=False)
    assert (bracelet.on, bracelet.boot, bracelet.battery_pct(NOON + 5000)) == (True, 6, 31)
    assert stored(bracelet, 0) == [0, 1]


def test_restart_flash_kept_continues_numbering() -> None:
    bracelet = new_bracelet(3)
    bracelet.restart(NOON + 5000)
    record = bracelet.measure(CALM, NOON + 6000)
    assert (record.boot, record.seq) == (6, 3)
    assert stored(bracelet, 0) == [0, 1, 2, 3]


def test_restart_flash_erased_starts_from_zero() -> None:
    bracelet = Bracelet("ble-001", 255, NOON)
    bracelet.measure(CALM, NOON)
    bracelet.restart(NOON + 9000, flash_kept=False, clock_kept=False)
    record = bracelet.measure(CALM, NOON + 9500)
    assert (record.boot, record.seq, record.device_time_ms) == (0, 0, 500)
    assert bracelet.unreleased == 1
