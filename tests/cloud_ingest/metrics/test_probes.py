import threading
import time

import pytest

from cloud_ingest.metrics.probes import Probe


class ProbeClock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_probe_is_down_before_the_first_check() -> None:
    probe = Probe("x", lambda: None)
    assert not probe.up
    assert probe.describe() == {"status": "down", "reason": "not checked yet"}
    probe.check_once()
    assert probe.describe() == {"status": "up"}


def test_probe_reports_why_it_is_down() -> None:
    def refuse() -> None:
        raise ConnectionRefusedError("connection refused\nwith details")

    probe = Probe("x", refuse)
    probe.check_once()
    assert probe.describe() == {"status": "down", "reason": "ConnectionRefusedError: connection refused"}


def test_probe_whose_check_hangs_is_down_within_two_seconds() -> None:
    clock = ProbeClock()
    probe = Probe("x", lambda: None, clock)
    probe.check_once()
    clock.now = 1.5
    assert probe.up
    clock.now = 2.0
    assert probe.describe() == {"status": "down", "reason": "does not answer"}


def test_probe_stops_while_its_check_hangs() -> None:
    release = threading.Event()
    probe = Probe("x", lambda: print(release.wait(20)))
    probe.start()
    started = time.monotonic()
    probe.stop()
    assert time.monotonic() - started < 2
    release.set()


@pytest.mark.parametrize("available", [True, False])
def test_wait_for_answer_returns_after_the_first_check(available: bool) -> None:
    def check() -> None:
        if not available:
            raise ConnectionError

    probe = Probe("x", check)
    assert not probe.wait_for_answer(0.01)
    probe.start()
    assert probe.wait_for_answer(10) is available
    probe.stop()


@pytest.mark.parametrize("failures", [1, 3])
def test_probe_recovers(failures: int) -> None:
    left = [failures]

    def check() -> None:
        if left[0]:
            left[0] -= 1
            raise ConnectionError

    probe = Probe("x", check)
    for _ in range(failures):
        probe.check_once()
        assert not probe.up
    probe.check_once()
    assert probe.up
