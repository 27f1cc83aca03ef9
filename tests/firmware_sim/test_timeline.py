"""Simulated time, driven by a clock the test controls."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from firmware_sim.timeline import Timeline, milliseconds, moment

START = datetime(2025, 8, 24, 10, 30, tzinfo=UTC)


@pytest.mark.parametrize(("speed", "elapsed_ms"), [(1, 2500), (60, 150_000), (0.5, 1250)])
def test_now_advances_at_its_speed(speed: float, elapsed_ms: int) -> None:
    seconds = [100.0]
    timeline = Timeline(milliseconds(START), speed, 100.0, lambda: seconds[0])
    seconds[0] += 2.5
    assert timeline.now_ms() == milliseconds(START) + elapsed_ms
    assert timeline.seconds_until(milliseconds(START) + elapsed_ms) == pytest.approx(0, abs=1e-9)


def test_begin_fast_run_ends_now() -> None:
    timeline = Timeline.begin(speed=10, duration_s=600)
    ago = datetime.now(UTC) - moment(timeline.start_ms)
    assert timedelta(seconds=539) < ago < timedelta(seconds=541)  # 600 s take 60 real seconds


def test_begin_real_time_starts_now() -> None:
    assert datetime.now(UTC) - moment(Timeline.begin(1, 600).start_ms) < timedelta(seconds=1)


def test_moment_keeps_milliseconds() -> None:
    assert moment(1_756_031_400_123).isoformat() == "2025-08-24T10:30:00.123000+00:00"
    assert milliseconds(moment(1_756_031_400_123)) == 1_756_031_400_123
