"""Passing things on to somebody who may be slow, away or broken, without ever making anybody wait for it."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Generic, Protocol, TypeVar

from vitals.backoff import Backoff
from vitals.errors import NotNotified

log = logging.getLogger(__name__)

TRIED_FOR_S = 15 * 60.0
"""An alert older than this no longer helps anybody who is told now; the record still goes to the cloud."""
THREADS = 4
"""For each recipient that blocks the thread which passes things on: its own, so that it holds up no other."""
_MOST_WAITING = 10_000
_AT_ONCE = 100
_DELIVERED_WITHIN_S = 30.0

T = TypeVar("T")


class Tally(Protocol):
    """Where desks count.

    Attributes:
        notified: things passed on.
        notifier_failures: attempts that failed.
        alerts_not_notified: things given up.
    """

    notified: int
    notifier_failures: int
    alerts_not_notified: int


class Desk(Generic[T]):
    """One recipient's queue; things leave in the order they came, one that fails keeps its place.

    Args:
        name: of the recipient, for the log.
        deliver: passes one thing on; raises NotNotified where that is not possible now.
        clock: seconds that do not jump.
        at_once: how many things may be on their way at a time.

    Attributes:
        failing: why the latest attempt failed; empty when it worked.
    """

    def __init__(
        self,
        name: str,
        deliver: Callable[[T], Awaitable[None]],
        counters: Tally,
        clock: Callable[[], float] = time.monotonic,
        at_once: int = _AT_ONCE,
    ) -> None:
        self.name, self.failing, self._failing_since = name, "", 0.0
        self._deliver, self._counters, self._clock, self._at_once = deliver, counters, clock, at_once
        self._waiting: deque[tuple[float, T]] = deque()
        self._arrived = asyncio.Event()
        self._backoff = Backoff(1.0, 30.0, random.random)

    @property
    def failing_s(self) -> float:
        """For how long every attempt has failed."""
        return self._clock() - self._failing_since if self.failing else 0.0

    def add(self, thing: T) -> None:
        """Pass something on as soon as possible; returns at once."""
        if len(self._waiting) >= _MOST_WAITING:
            self._waiting.popleft()
            self._give_up(1, "too many are waiting")
        self._waiting.append((self._clock(), thing))
        self._arrived.set()

    async def run(self) -> None:
        """Pass things on until cancelled."""
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            while self._waiting:
                self._drop_stale()
                most = min(self._at_once, len(self._waiting))
                await self._pass_on([self._waiting.popleft() for _ in range(most)])

    async def try_now(self, thing: T) -> str:
        """Pass one thing on at once, once; returns why it failed, empty when it worked."""
        try:
            async with asyncio.timeout(_DELIVERED_WITHIN_S):
                await self._deliver(thing)
        except NotNotified as error:
            return str(error)
        except TimeoutError:
            return f"no answer within {_DELIVERED_WITHIN_S:g} s"
        except Exception as error:  # noqa: BLE001 - whatever a recipient does, readings go on
            return f"{type(error).__name__}: {error}"
        return ""

    async def _pass_on(self, batch: list[tuple[float, T]]) -> None:
        results = await asyncio.gather(*(self._tell(thing) for _, thing in batch))
        failed = [waiting for waiting, told in zip(batch, results, strict=True) if not told]
        if not failed:
            self._backoff.reset()
            return
        self._waiting.extendleft(reversed(failed))
        await asyncio.sleep(self._backoff.after_failure())

    async def _tell(self, thing: T) -> bool:
        failed = await self.try_now(thing)
        if failed and not self.failing:
            self._failing_since = self._clock()
        self.failing = failed
        if not self.failing:
            self._counters.notified += 1
            return True
        self._counters.notifier_failures += 1
        level = logging.DEBUG if self._backoff.failures else logging.WARNING
        log.log(level, "notifier %s failed, will try again: %s", self.name, self.failing)
        return False

    def _drop_stale(self) -> None:
        stale = 0
        while self._waiting and self._clock() - self._waiting[0][0] > TRIED_FOR_S:
            self._waiting.popleft()
            stale += 1
        if stale:
            self._give_up(stale, "nobody could be told for 15 minutes")

    def _give_up(self, things: int, reason: str) -> None:
        self._counters.alerts_not_notified += things
        log.error("notifier %s: %d alerts given up, %s", self.name, things, reason)
