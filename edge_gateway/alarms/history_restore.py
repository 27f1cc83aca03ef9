"""After a restart: the last hours on the page again, from what the outbox still holds.

In small portions, newest first, beside the work: the start waits for nothing, and values and curves are there
from the right to the left.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from collections.abc import Callable
from typing import Protocol

from pydantic import ValidationError

from edge_gateway.alarms.monitor import Ward
from edge_gateway.alarms.trend import HOURS
from edge_gateway.outbox.reading_queries import OutboxEntry
from vitals.reading import Reading

log = logging.getLogger(__name__)

_PORTION, _PAUSE_S = 200, 0.02


class History(Protocol):
    """Where readings are kept."""

    async def recent(self, before: int, since: float, limit: int) -> list[OutboxEntry]:
        """The newest readings before a row that were committed since then."""


async def recollect(ward: Ward, history: History, now: Callable[[], float] = time.time) -> None:
    """Show the ward the readings of the last hours; what was committed before cannot be of these hours."""
    since, before = now() - HOURS * 3600, sys.maxsize
    while portion := await history.recent(before, since, _PORTION):
        for entry in reversed(portion):
            try:
                ward.recollect(Reading.model_validate_json(entry.body))
            except ValidationError:
                log.debug("a kept reading is not one of this version")
        before = portion[0].id
        await asyncio.sleep(_PAUSE_S)
