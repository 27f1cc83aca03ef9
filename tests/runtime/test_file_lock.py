from __future__ import annotations

import multiprocessing
import os
import signal
import time
from multiprocessing.synchronize import Event
from pathlib import Path

import pytest

from runtime.file_lock import is_locked, locked

SPAWN = multiprocessing.get_context("spawn")


def hold(path: Path, held: Event, seconds: float) -> None:
    with locked(path):
        held.set()
        time.sleep(seconds)


@pytest.fixture(params=["file", "directory"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    if request.param == "directory":
        return tmp_path
    made = tmp_path / "lock"
    made.touch()
    return made


def test_locked_excludes_another_process_until_it_is_killed(path: Path) -> None:
    held = SPAWN.Event()
    other = SPAWN.Process(target=hold, args=(path, held, 60))
    other.start()
    assert held.wait(30)
    assert is_locked(path)
    with pytest.raises(BlockingIOError), locked(path):
        pass
    assert other.pid
    os.kill(other.pid, signal.SIGKILL)
    other.join()
    assert not is_locked(path)


def test_locked_waits_for_a_holder_that_leaves_in_time(tmp_path: Path) -> None:
    held = SPAWN.Event()
    other = SPAWN.Process(target=hold, args=(tmp_path, held, 0.3))
    other.start()
    assert held.wait(30)
    with locked(tmp_path, timeout_s=30):
        assert is_locked(tmp_path)
    other.join()


def test_locked_in_one_process_excludes_itself(tmp_path: Path) -> None:
    with locked(tmp_path), pytest.raises(BlockingIOError), locked(tmp_path):
        pass


def test_locked_reports_a_path_that_does_not_exist(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), locked(tmp_path / "missing"):
        pass
