"""Golden bytes of Date Time and Current Time in the Bluetooth SIG's layout."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vitals.errors import MalformedRecord
from vitals.gatt.current_time import AdjustReason, CurrentTime, DateTime

# 2025-08-24 10:30:05.5 UTC, a Sunday: 2025 is 07E9, 0.5 s is 128/256
GOLDEN = "E9 07 08 18 0A 1E 05 07 80 00"
MOMENT = datetime(2025, 8, 24, 10, 30, 5, 500_000, tzinfo=UTC)


def test_current_time_golden() -> None:
    assert bytes(CurrentTime.of(MOMENT)) == bytes.fromhex(GOLDEN)
    assert CurrentTime.from_bytes(bytes.fromhex(GOLDEN)).moment() == MOMENT


def test_current_time_of_another_zone_is_utc() -> None:
    paris = MOMENT.astimezone(timezone(timedelta(hours=2)))
    assert bytes(CurrentTime.of(paris, AdjustReason.MANUAL)) == bytes.fromhex(GOLDEN[:-2] + "01")


def test_date_time_golden() -> None:
    assert DateTime.from_bytes(bytes.fromhex("E9 07 08 18 0A 1E 05")) == DateTime(2025, 8, 24, 10, 30, 5)


@pytest.mark.parametrize("raw", ["00 00 00 00 00 00 00", "E9 07 00 18 0A 1E 05", "E9 07 02 1E 0A 1E 05"])
def test_date_time_unknown_or_not_in_the_calendar_is_none(raw: str) -> None:
    assert DateTime.from_bytes(bytes.fromhex(raw)).moment() is None


@pytest.mark.parametrize(
    ("decode", "whole"),
    [
        (DateTime.from_bytes, bytes.fromhex(GOLDEN)[:7]),
        (CurrentTime.from_bytes, bytes.fromhex(GOLDEN)),
    ],
)
def test_truncated_or_extended_is_refused_with_its_bytes(
    decode: Callable[[bytes], object], whole: bytes
) -> None:
    for data in (*(whole[:length] for length in range(len(whole))), whole + b"\x00"):
        with pytest.raises(MalformedRecord) as refused:
            decode(data)
        assert refused.value.data == data


@pytest.mark.parametrize(
    ("raw", "problem"),
    [
        ("E9 07 0D 18 0A 1E 05 07 80 00", "month is 13"),
        ("E9 07 08 20 0A 1E 05 07 80 00", "day is 32"),
        ("E9 07 08 18 18 1E 05 07 80 00", "hours is 24"),
        ("E9 07 08 18 0A 3C 05 07 80 00", "minutes is 60"),
        ("E9 07 08 18 0A 1E 3C 07 80 00", "seconds is 60"),
        ("2D 06 08 18 0A 1E 05 07 80 00", "year is 1581"),
        ("E9 07 08 18 0A 1E 05 08 80 00", "day of week is 8"),
        ("E9 07 08 18 0A 1E 05 07 80 10", "unknown reasons 0x10"),
    ],
)
def test_current_time_field_out_of_range_is_named(raw: str, problem: str) -> None:
    with pytest.raises(MalformedRecord, match=problem):
        CurrentTime.from_bytes(bytes.fromhex(raw))


@given(st.datetimes(datetime(1582, 1, 1), datetime(9999, 12, 31), timezones=st.just(UTC)))
def test_current_time_round_trip_within_a_256th(moment: datetime) -> None:
    back = CurrentTime.from_bytes(bytes(CurrentTime.of(moment))).moment()
    assert back is not None
    assert timedelta() <= moment - back < timedelta(seconds=1 / 256)
