"""A bounded queue in front of one recipient, so that a slow or failing recipient blocks nothing else."""

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

RETRY_FOR_S = 15 * 60.0
"""Items older than this are dropped: the record in the cloud stays, but a notification would be too late."""
THREADS_PER_CONTACT = 4
"""Size of the thread pool that each contact with a blocking client has for itself."""
_MAX_WAITING = 10_000
_MAX_CONCURRENCY = 100
_DELIVERY_TIMEOUT_S = 30.0

T = TypeVar("T")


class NotificationCounters(Protocol):
    """Counters that every queue of a process adds to.

    Attributes:
        notified: items delivered.
        notifier_failures: failed attempts.
        alerts_not_notified: items dropped without delivery.
    """

    notified: int
    notifier_failures: int
    alerts_not_notified: int


class NotificationQueue(Generic[T]):
    """The queue of one recipient. Items leave in order of arrival; a failed one keeps its place.

    Args:
        name: of the recipient, for the log.
        deliver: delivers one item; raises NotNotified where that is not possible now.
        clock: monotonic seconds.
        max_concurrency: deliveries that may run at the same time.

    Attributes:
        failing: why the latest attempt failed; empty when it succeeded.
    """

    def __init__(
        self,
        name: str,
        deliver: Callable[[T], Awaitable[None]],
        counters: NotificationCounters,
        clock: Callable[[], float] = time.monotonic,
        max_concurrency: int = _MAX_CONCURRENCY,
    ) -> None:
        self.name, self.failing, self._failing_since = name, "", 0.0
        self._deliver, self._counters, self._clock = deliver, counters, clock
        self._max_concurrency = max_concurrency
        self._waiting: deque[tuple[float, T]] = deque()
        self._arrived = asyncio.Event()
        self._backoff = Backoff(1.0, 30.0, random.random)

    @property
    def failing_s(self) -> float:
        """Seconds since the first of the failures in a row; 0 when the latest attempt succeeded."""
        return self._clock() - self._failing_since if self.failing else 0.0

    def add(self, item: T) -> None:
        """Queue an item for delivery; never blocks. A full queue drops its oldest item."""
        if len(self._waiting) >= _MAX_WAITING:
            self._waiting.popleft()
            self._count_dropped(1, "the queue is full")
        self._waiting.append((self._clock(), item))
        self._arrived.set()

    async def run(self) -> None:
        """Deliver items until cancelled."""
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            while self._waiting:
                self._drop_expired()
                size = min(self._max_concurrency, len(self._waiting))
                await self._deliver_batch([self._waiting.popleft() for _ in range(size)])

    async def try_now(self, item: T) -> str:
        """Deliver one item, past the queue and without a retry; return why it failed, or an empty string."""
        try:
            async with asyncio.timeout(_DELIVERY_TIMEOUT_S):
                await self._deliver(item)
        except NotNotified as error:
            return str(error)
        except TimeoutError:
            return f"no answer within {_DELIVERY_TIMEOUT_S:g} s"
        except Exception as error:  # noqa: BLE001 - an error in a recipient's client must not stop the queue
            return f"{type(error).__name__}: {error}"
        return ""

    async def _deliver_batch(self, batch: list[tuple[float, T]]) -> None:
        results = await asyncio.gather(*(self._attempt(item) for _, item in batch))
        failed = [entry for entry, delivered in zip(batch, results, strict=True) if not delivered]
        if not failed:
            self._backoff.reset()
            return
        self._waiting.extendleft(reversed(failed))
        await asyncio.sleep(self._backoff.after_failure())

    async def _attempt(self, item: T) -> bool:
        error = await self.try_now(item)
        if error and not self.failing:
            self._failing_since = self._clock()
        self.failing = error
        if not error:
            self._counters.notified += 1
            return True
        self._counters.notifier_failures += 1
        level = logging.DEBUG if self._backoff.failures else logging.WARNING
        log.log(level, "notifier %s failed, will retry: %s", self.name, error)
        return False

    def _drop_expired(self) -> None:
        expired = 0
        while self._waiting and self._clock() - self._waiting[0][0] > RETRY_FOR_S:
            self._waiting.popleft()
            expired += 1
        if expired:
            self._count_dropped(expired, "not delivered within 15 minutes")

    def _count_dropped(self, items: int, reason: str) -> None:
        self._counters.alerts_not_notified += items
        log.error("notifier %s: %d notifications dropped, %s", self.name, items, reason)
