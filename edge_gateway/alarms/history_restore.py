"""Restores the last hours of the page after a restart, from the readings that the outbox still holds.

It reads in small pages, newest first, while the gateway works: the start does not wait, and trends fill from
right to left.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from collections.abc import Callable
from typing import Protocol

from pydantic import ValidationError

from edge_gateway.alarms.monitor import AlarmMonitor
from edge_gateway.alarms.trend import HOURS
from edge_gateway.outbox.reading_queries import OutboxEntry
from vitals.reading import Reading

log = logging.getLogger(__name__)

_PAGE_SIZE, _PAUSE_S = 200, 0.02


class ReadingHistory(Protocol):
    """Stored readings."""

    async def recent(self, before: int, since: float, limit: int) -> list[OutboxEntry]:
        """Return the newest readings before a row that were committed since then, in order of their rows."""


async def restore_history(
    monitor: AlarmMonitor, history: ReadingHistory, now: Callable[[], float] = time.time
) -> None:
    """Add the readings of the last hours to the monitor.

    A reading committed before that cannot have been measured within these hours.
    """
    since, before = now() - HOURS * 3600, sys.maxsize
    while entries := await history.recent(before, since, _PAGE_SIZE):
        for entry in reversed(entries):
            try:
                monitor.add_history(Reading.model_validate_json(entry.body))
            except ValidationError:
                log.debug("skipped a stored reading that this version cannot parse")
        before = entries[0].id
        await asyncio.sleep(_PAUSE_S)
