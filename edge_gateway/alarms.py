"""Every reading is judged the moment it arrives; what the rules find is logged and passed on to notifiers.

Judging never waits: each notifier has a queue and a task of its own; one that fails only counts and retries.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol

from edge_gateway.backoff import Backoff
from edge_gateway.errors import NotNotified
from edge_gateway.state import Counters
from vitals import rules
from vitals.reading import Reading
from vitals.rules import AlertRecord, Severity

log = logging.getLogger(__name__)

TRIED_FOR_S = 15 * 60.0
"""An alert older than this no longer helps anybody who is told now; the record still goes to the cloud."""
_MOST_WAITING = 10_000
_AT_ONCE = 100


class Notifier(Protocol):
    """Somebody who can be told of an alert."""

    name: str

    async def notify(self, alert: AlertRecord) -> None:
        """Pass an alert on.

        Raises:
            NotNotified: not possible now; it will be tried again.
        """


class Alarms:
    """Rules on every reading, and the notifiers that hear of what they find."""

    def __init__(self, notifiers: Sequence[Notifier], counters: Counters) -> None:
        self._desks = [_Desk(notifier, counters) for notifier in notifiers]
        self._counters = counters

    def judge(self, reading: Reading) -> tuple[AlertRecord, ...]:
        """Raise the alerts of one reading, which must have a `message_id`; returns at once."""
        if reading.message_id is None:
            raise ValueError("a reading without message_id cannot be judged")
        found = rules.records(reading, reading.message_id)
        for alert in found:
            level = logging.WARNING if alert.severity is Severity.CRITICAL else logging.INFO
            log.log(level, "alert %s from %s", alert.type.value, alert.device_id)
            self._counters.alerts[alert.type.value] += 1
            for desk in self._desks:
                desk.add(alert)
        return found

    async def run(self) -> None:
        """Serve the notifiers until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for desk in self._desks:
                tasks.create_task(desk.run(), name=f"notifier {desk.name}")


class _Desk:
    """One notifier's queue; alerts leave in the order they came, a failing one keeps its place."""

    def __init__(
        self, notifier: Notifier, counters: Counters, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.name = notifier.name
        self._notifier, self._counters, self._clock = notifier, counters, clock
        self._waiting: deque[tuple[float, AlertRecord]] = deque()
        self._arrived = asyncio.Event()
        self._backoff = Backoff(1.0, 30.0, random.random)

    def add(self, alert: AlertRecord) -> None:
        if len(self._waiting) >= _MOST_WAITING:
            self._waiting.popleft()
            self._give_up(1, "too many are waiting")
        self._waiting.append((self._clock(), alert))
        self._arrived.set()

    async def run(self) -> None:
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            while self._waiting:
                self._drop_stale()
                await self._pass_on(
                    [self._waiting.popleft() for _ in range(min(_AT_ONCE, len(self._waiting)))]
                )

    async def _pass_on(self, batch: list[tuple[float, AlertRecord]]) -> None:
        results = await asyncio.gather(*(self._tell(alert) for _, alert in batch))
        failed = [waiting for waiting, told in zip(batch, results, strict=True) if not told]
        if not failed:
            self._backoff.reset()
            return
        self._waiting.extendleft(reversed(failed))
        await asyncio.sleep(self._backoff.after_failure())

    async def _tell(self, alert: AlertRecord) -> bool:
        try:
            await self._notifier.notify(alert)
        except NotNotified as error:
            self._failed(str(error))
            return False
        except Exception as error:  # noqa: BLE001 - whatever a notifier does, readings go on
            self._failed(f"{type(error).__name__}: {error}")
            return False
        self._counters.notified += 1
        return True

    def _failed(self, reason: str) -> None:
        self._counters.notifier_failures += 1
        level = logging.DEBUG if self._backoff.failures else logging.WARNING
        log.log(level, "notifier %s failed, will try again: %s", self.name, reason)

    def _drop_stale(self) -> None:
        stale = 0
        while self._waiting and self._clock() - self._waiting[0][0] > TRIED_FOR_S:
            self._waiting.popleft()
            stale += 1
        if stale:
            self._give_up(stale, "nobody could be told for 15 minutes")

    def _give_up(self, alerts: int, reason: str) -> None:
        self._counters.alerts_not_notified += alerts
        log.error("notifier %s: %d alerts given up, %s", self.name, alerts, reason)
