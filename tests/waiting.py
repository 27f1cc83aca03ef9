"""Waiting for what a test expects. The limit ends a test that hangs; it does not judge speed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

PATIENCE_S = 120.0
"""Long enough for a machine with many times more work than processors."""
_POLL_S = 0.05


def wait_until(condition: Callable[[], object], timeout_s: float = PATIENCE_S) -> bool:
    """Return whether a condition becomes true in time."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL_S)
    return True


def wait_for(found: Callable[[], Any]) -> Any:
    """Call `found` until it returns something true, and return that."""
    deadline = time.monotonic() + PATIENCE_S
    while not (result := found()):
        assert time.monotonic() < deadline, f"nothing after {PATIENCE_S:g} s"
        time.sleep(_POLL_S)
    return result


async def eventually(found: Callable[[], Any]) -> Any:
    """Call `found`, which may be a coroutine function, until it returns something true; return that."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        result = found()
        if isinstance(result, Awaitable):
            result = await result
        if result:
            return result
        assert time.monotonic() < deadline, f"nothing after {PATIENCE_S:g} s"
        await asyncio.sleep(_POLL_S / 5)
