"""Every reading is judged the moment it arrives; what the rules find is logged, recorded and passed on.

Judging never waits: each recipient of alert records has its own queue.
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


def _nobody(_reading: Reading, _alerts: Sequence[AlertRecord]) -> None:
    """Nobody decides about people."""


class Alarms:
    """Rules on every reading.

    Args:
        queues: recipients of every alert record.
        observe: told of each reading and its records, to decide what reaches a person.
    """

    def __init__(
        self, queues: Sequence[NotificationQueue[AlertRecord]], counters: Counters, observe: Observe = _nobody
    ) -> None:
        self._queues, self._counters, self._observe = queues, counters, observe

    def judge(self, reading: Reading) -> tuple[AlertRecord, ...]:
        """Raise the alerts of one reading, which must have a `message_id`; returns at once."""
        if reading.message_id is None:
            raise ValueError("a reading without message_id cannot be judged")
        found = rules.records(reading, reading.message_id)
        for alert in found:
            level = logging.WARNING if alert.severity is Severity.CRITICAL else logging.INFO
            log.log(level, "alert %s from %s", alert.type.value, alert.device_id)
            self._counters.alerts[alert.type.value] += 1
            for queue in self._queues:
                queue.add(alert)
        self._observe(reading, found)
        return found

    async def run(self) -> None:
        """Run the queues until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for queue in self._queues:
                tasks.create_task(queue.run(), name=f"notifier {queue.name}")
