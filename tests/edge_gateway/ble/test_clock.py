"""The time of a record, for a bracelet's clock that is right, wrong, unset, or was set earlier."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from edge_gateway.ble.clock import BraceletClock, described
from edge_gateway.outbox.device_queries import ClockEra
from vitals.gatt.bracelet import BraceletRecord, BraceletStatus, RecordFlag, StatusFlag
from vitals.reading import Measurements

NOW = datetime(2025, 8, 24, 10, 30, tzinfo=UTC)
NOW_MS = 1_756_031_400_000
DAY_MS = 86_400_000
YEAR_MS = 365 * DAY_MS
VALUES = Measurements(spo2_pct=97.0)


def status(clock_ms: int, *, is_set: bool = True, held: tuple[int, int] = (0, 9)) -> BraceletStatus:
    return BraceletStatus(1, StatusFlag.CLOCK_SET if is_set else StatusFlag(0), 55, clock_ms, *held)


def record(seq: int, device_ms: int, *, is_set: bool = True, boot: int = 1) -> BraceletRecord:
    return BraceletRecord(seq, boot, device_ms, RecordFlag.CLOCK_SET if is_set else RecordFlag(0), VALUES)


@pytest.mark.parametrize(
    ("clock_ms", "is_set", "needs"),
    [
        (NOW_MS, True, False),
        (NOW_MS - 1000, True, False),
        (NOW_MS - 1001, True, True),
        (NOW_MS + 1001, True, True),
        (NOW_MS - YEAR_MS, True, True),
        (NOW_MS, False, True),
        (5000, False, True),
    ],
)
def test_clock_needs_setting(clock_ms: int, is_set: bool, needs: bool) -> None:
    assert BraceletClock(status(clock_ms, is_set=is_set), NOW).needs_setting is needs


@pytest.mark.parametrize("wrong_ms", [-YEAR_MS, YEAR_MS, -1500, 1500])
def test_record_of_a_wrong_clock_is_corrected_by_its_offset(wrong_ms: int) -> None:
    clock = BraceletClock(status(NOW_MS + wrong_ms), NOW)
    minute_ago = record(5, NOW_MS + wrong_ms - 60_000)
    assert clock.moment(minute_ago, NOW) == NOW - timedelta(minutes=1)


@pytest.mark.parametrize("wrong_ms", [-YEAR_MS, YEAR_MS])
def test_clock_that_was_set_dates_records_from_before_and_after(wrong_ms: int) -> None:
    """The clock was set an hour ago at record 100; the bracelet was out of range since then."""
    hour_ms = 3_600_000
    era = BraceletClock(
        status(NOW_MS - hour_ms + wrong_ms, held=(0, 99)), NOW - timedelta(hours=1)
    ).ending_era
    assert era == ClockEra(1, 100, -wrong_ms, NOW_MS - hour_ms)
    clock = BraceletClock(status(NOW_MS, held=(0, 3700)), NOW, (era,))
    before = record(40, NOW_MS - hour_ms - 60_000 + wrong_ms)
    between = record(100, NOW_MS - hour_ms + 200 + wrong_ms)  # measured while the clock was being set
    first = record(101, NOW_MS - hour_ms + 1200)
    after = record(2000, NOW_MS - hour_ms + 1_900_000)
    moments = [clock.moment(each, NOW) for each in (before, between, first, after)]
    seconds = [(NOW - each).total_seconds() for each in moments]
    assert seconds == [3660.0, 3599.8, 3598.8, 1700.0]


def test_clock_that_was_unset_until_an_hour_ago_dates_records_from_then() -> None:
    # up for 500 s when it was set
    era = ClockEra(1, 100, NOW_MS - 3_600_000 - 500_000, NOW_MS - 3_600_000, was_set=False)
    clock = BraceletClock(status(NOW_MS, held=(0, 3700)), NOW, (era,))
    assert clock.moment(record(40, 440_000, is_set=False), NOW) == NOW - timedelta(seconds=3660)
    assert clock.moment(record(100, 500_300, is_set=False), NOW) == NOW - timedelta(seconds=3599.7)


def test_clock_that_was_right_until_it_was_lost_dates_its_records_by_their_own_time() -> None:
    lost = ClockEra(1, 100, NOW_MS - 500_000, NOW_MS, was_set=False)
    clock = BraceletClock(status(NOW_MS), NOW, (lost,))
    assert clock.moment(record(40, NOW_MS - 60_000), NOW) == NOW - timedelta(seconds=60)
    assert clock.moment(record(99, 470_000, is_set=False), NOW) == NOW - timedelta(seconds=30)


def test_live_record_contradicts_a_clock_that_was_changed_or_lost() -> None:
    clock = BraceletClock(status(NOW_MS), NOW)
    later = NOW + timedelta(seconds=30)
    contradicted = {
        "as it is": clock.contradicts(record(40, NOW_MS + 30_000), later),
        "an hour behind": clock.contradicts(record(40, NOW_MS - 3_570_000), later),
        "an hour ahead": clock.contradicts(record(40, NOW_MS + 3_630_000), later),
        "lost": clock.contradicts(record(40, 5000, is_set=False), later),
    }
    assert contradicted == {"as it is": False, "an hour behind": True, "an hour ahead": True, "lost": True}


def test_record_that_came_while_the_clock_was_being_set_contradicts_nothing() -> None:
    era = ClockEra(1, 100, NOW_MS - 500_000, NOW_MS, was_set=False)
    clock = BraceletClock(status(NOW_MS), NOW, (era,))
    assert not clock.contradicts(record(101, 501_000, is_set=False), NOW + timedelta(seconds=1))


def test_record_of_an_earlier_restart_with_a_clock_ahead_is_not_from_the_future() -> None:
    clock = BraceletClock(status(NOW_MS), NOW)
    assert clock.moment(record(40, NOW_MS + DAY_MS, boot=0), NOW) == NOW


def test_era_of_another_restart_is_not_used() -> None:
    clock = BraceletClock(status(NOW_MS), NOW, (ClockEra(0, 100, DAY_MS, NOW_MS - DAY_MS),))
    assert clock.moment(record(40, NOW_MS - 5000), NOW) == NOW - timedelta(seconds=5)


def test_each_of_several_eras_dates_its_own_records() -> None:
    eras = (ClockEra(1, 10, 5000, NOW_MS - DAY_MS), ClockEra(1, 20, -7000, NOW_MS - 3_600_000))
    clock = BraceletClock(status(NOW_MS), NOW, eras)
    moments = [clock.moment(record(seq, NOW_MS - DAY_MS), NOW) for seq in (9, 10, 19)]
    day_ago = NOW - timedelta(days=1)
    assert [(each - day_ago).total_seconds() for each in moments] == [5.0, -7.0, -7.0]


def test_corrected_time_is_never_after_the_arrival() -> None:
    clock = BraceletClock(status(NOW_MS - YEAR_MS), NOW)
    assert clock.moment(record(5, NOW_MS - YEAR_MS + 9000), NOW) == NOW


@pytest.mark.parametrize(("held", "before"), [((0, 9), 10), ((10, 9), 10), ((1, 0), 0), ((0, 0), 1)])
def test_ending_era_counts_from_the_newest_record(held: tuple[int, int], before: int) -> None:
    assert BraceletClock(status(5000, is_set=False, held=held), NOW).ending_era.before_seq == before


@pytest.mark.parametrize(
    ("offset_ms", "words"),
    [
        (1500, "1.5 s behind"),
        (-119_000, "119.0 s ahead"),
        (120_000, "2 min behind"),
        (-7_200_000, "2 h ahead"),
        (YEAR_MS, "365 days behind"),
    ],
)
def test_described_offset(offset_ms: int, words: str) -> None:
    assert described(offset_ms) == words
