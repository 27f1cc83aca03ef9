"""Exclusive locks between processes (`flock`), released by the kernel when their holder exits.

The lock is taken on a file or on a directory. A directory needs no lock file, so that it can be locked on a
full or read-only disk.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_RETRY_EVERY_S = 0.05


@contextmanager
def locked(path: Path, *, timeout_s: float | None = 0.0) -> Iterator[None]:
    """Hold the exclusive lock on an existing file or directory.

    Args:
        timeout_s: how long to wait for another holder; None waits without limit. A positive value bridges the
            moment for which `is_locked` of another process holds the lock.

    Raises:
        BlockingIOError: another process holds the lock.
        OSError: the path cannot be opened.
    """
    descriptor = _open(path)
    try:
        _acquire(descriptor, timeout_s)
        yield
    finally:
        os.close(descriptor)


def is_locked(path: Path) -> bool:
    """Return whether another process holds the lock.

    Raises:
        OSError: the path cannot be opened.
    """
    try:
        with locked(path):
            return False
    except BlockingIOError:
        return True


def _open(path: Path) -> int:
    # Opened for writing where it is a file: NFS emulates flock with locks that need it.
    flags = os.O_RDONLY | os.O_DIRECTORY if path.is_dir() else os.O_RDWR
    return os.open(path, flags | os.O_CLOEXEC)


def _acquire(descriptor: int, timeout_s: float | None) -> None:
    if timeout_s is None:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        return
    give_up_at = time.monotonic() + timeout_s
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= give_up_at:
                raise
            time.sleep(_RETRY_EVERY_S)
        else:
            return
