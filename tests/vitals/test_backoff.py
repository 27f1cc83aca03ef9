"""Back-off: doubling, jitter, cap and reset."""

from __future__ import annotations

from vitals.backoff import Backoff


def test_backoff_doubles_up_to_its_cap_and_resets() -> None:
    backoff = Backoff(1.0, 60.0, random=lambda: 1.0)
    assert [backoff.after_failure() for _ in range(8)] == [1, 2, 4, 8, 16, 32, 60, 60]
    backoff.reset()
    assert backoff.after_failure() == 1


def test_backoff_jitter_takes_away_up_to_half() -> None:
    backoff = Backoff(8.0, 60.0, random=lambda: 0.0)
    assert [backoff.after_failure() for _ in range(4)] == [4, 8, 16, 30]


def test_backoff_after_very_many_failures() -> None:
    backoff = Backoff(1.0, 60.0, random=lambda: 1.0)
    assert max(backoff.after_failure() for _ in range(5000)) == 60
