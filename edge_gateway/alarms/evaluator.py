"""Evaluates the alert rules on every reading as it arrives.

Evaluation never waits: each recipient of alert records has its own queue.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence

from edge_gateway.state import Counters
from runtime.notification_queue import NotificationQueue
from vitals import rules
from vitals.reading import Reading
from vitals.rules import AlertRecord, Severity

log = logging.getLogger(__name__)

Observe = Callable[[Reading, Sequence[AlertRecord]], None]


def _ignore(_reading: Reading, _alerts: Sequence[AlertRecord]) -> None:
    """Default where nothing observes readings."""


class AlarmEvaluator:
    """Evaluates the rules, logs and counts the alerts, and passes them on.

    Args:
        queues: receive every alert record.
        observe: called with each reading and its alerts; decides about notifications.
    """

    def __init__(
        self, queues: Sequence[NotificationQueue[AlertRecord]], counters: Counters, observe: Observe = _ignore
    ) -> None:
        self._queues, self._counters, self._observe = queues, counters, observe

    def evaluate(self, reading: Reading) -> tuple[AlertRecord, ...]:
        """Raise the alerts of one reading, which must have a `message_id`; does not block."""
        if reading.message_id is None:
            raise ValueError("a reading without message_id cannot be evaluated")
        alerts = rules.records(reading, reading.message_id)
        for alert in alerts:
            level = logging.WARNING if alert.severity is Severity.CRITICAL else logging.INFO
            log.log(level, "alert %s from %s", alert.type.value, alert.device_id)
            self._counters.alerts[alert.type.value] += 1
            for queue in self._queues:
                queue.add(alert)
        self._observe(reading, alerts)
        return alerts

    async def run(self) -> None:
        """Deliver queued alerts until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for queue in self._queues:
                tasks.create_task(queue.run(), name=f"notifier {queue.name}")
