"""Waiting for what a test expects. The limit ends a test that hangs; it does not judge speed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

PATIENCE_S = 120.0
"""Long enough for a machine with many times more work than processors."""
_FIRST_POLL_S, _LAST_POLL_S = 0.02, 0.5
"""The interval between two polls grows, because some conditions cost more than what they wait for."""


def wait_until(condition: Callable[[], object], timeout_s: float = PATIENCE_S) -> bool:
    """Return whether a condition becomes true in time."""
    deadline = time.monotonic() + timeout_s
    pause = _FIRST_POLL_S
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(pause)
        pause = _longer(pause)
    return True


def wait_for(found: Callable[[], Any]) -> Any:
    """Call `found` until it returns something true, and return that."""
    results: list[Any] = []

    def is_found() -> bool:
        results[:] = [found()]
        return bool(results[0])

    assert wait_until(is_found), f"nothing after {PATIENCE_S:g} s"
    return results[0]


async def eventually(found: Callable[[], Any]) -> Any:
    """Call `found`, which may be a coroutine function, until it returns something true; return that."""
    deadline = time.monotonic() + PATIENCE_S
    pause = _FIRST_POLL_S
    while True:
        result = found()
        if isinstance(result, Awaitable):
            result = await result
        if result:
            return result
        assert time.monotonic() < deadline, f"nothing after {PATIENCE_S:g} s"
        await asyncio.sleep(pause)
        pause = _longer(pause)


def _longer(pause: float) -> float:
    return min(1.2 * pause, _LAST_POLL_S)
