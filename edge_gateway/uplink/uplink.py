"""Batches from the outbox to the ingestion API; a row leaves the outbox only when the API says it has it."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime

from edge_gateway.errors import DeliveryFailed
from edge_gateway.outbox.outbox import Outbox
from edge_gateway.outbox.reading_queries import OutboxEntry
from edge_gateway.state import GatewayState
from edge_gateway.uplink.client import ApiClient, DeliveryResult
from vitals.backoff import Backoff

log = logging.getLogger(__name__)

BACKOFF_CAP_S = 60.0
_MOST_BYTES = 4 * 2**20
"""Of one request before compression; the API takes 8 MiB compressed."""
_DEAD_LETTERS_AT_ONCE = 50


class Uplink:
    """Delivers what is pending in two lanes at once, until cancelled: what comes in now, and the backlog.

    The backlog is everything up to a boundary. It moves up whenever more has come in than one request of the
    live lane carries, as after an outage: the newest readings always leave first. Of the backlog, critical
    readings leave first, then the others from the oldest on. Within a lane, the order of each bracelet holds.

    Attributes:
        news: to be set when the outbox has something new.
    """

    def __init__(self, api: ApiClient, outbox: Outbox, state: GatewayState, batch_size: int) -> None:
        self._api, self._outbox, self._state, self._most = api, outbox, state, batch_size
        self.news, self.dead_letter_news = asyncio.Event(), asyncio.Event()
        self._backlog_news, self._works = asyncio.Event(), asyncio.Event()
        self._boundary = 0

    async def run(self) -> None:
        """Deliver readings."""
        self._boundary = await self._outbox.newest()
        async with asyncio.TaskGroup() as lanes:
            lanes.create_task(self._lane(self._peek_live, self.news), name="live lane")
            lanes.create_task(self._lane(self._peek_backlog, self._backlog_news), name="backlog lane")

    async def _peek_live(self, limit: int) -> list[OutboxEntry]:
        batch = await self._outbox.peek_live(self._boundary, limit)
        if len(batch) == limit:
            self._boundary = batch[0].id - 1
            self._backlog_news.set()
        return batch

    async def _peek_backlog(self, limit: int) -> list[OutboxEntry]:
        return await self._outbox.peek_backlog(self._boundary, limit)

    async def _lane(self, peek: Callable[[int], Awaitable[list[OutboxEntry]]], news: asyncio.Event) -> None:
        backoff = Backoff(1.0, BACKOFF_CAP_S, random.random)
        size = self._most
        while True:
            news.clear()
            batch = _within_bytes(await peek(size))
            if not batch:
                await news.wait()
                continue
            try:
                verdict = await self._api.post_readings(batch)
            except DeliveryFailed as error:
                if error.splittable and len(batch) == 1 and str(error) != "HTTP 500":
                    verdict = DeliveryResult((), ((batch[0].id, f"the API refuses it alone: {error}"),))
                else:
                    size = max(1, len(batch) // 2) if error.splittable else size
                    await self._pause(backoff, error)
                    continue
            await self._settle(batch, verdict)
            size = min(self._most, 2 * size)
            self._up(backoff)

    async def run_dead_letters(self) -> None:
        """Deliver dead letters."""
        backoff = Backoff(1.0, BACKOFF_CAP_S, random.random)
        while True:
            self.dead_letter_news.clear()
            batch = _within_bytes(await self._outbox.peek_dead_letters(_DEAD_LETTERS_AT_ONCE))
            if not batch:
                await self.dead_letter_news.wait()
                continue
            try:
                await self._api.post_errors(batch)
            except DeliveryFailed as error:
                log.debug("dead letters not delivered: %s", error)
                await asyncio.sleep(max(backoff.after_failure(), _asked(error)))
                continue
            await self._outbox.acknowledge_dead_letters([entry.id for entry in batch])
            backoff.reset()

    async def _settle(self, batch: Sequence[OutboxEntry], verdict: DeliveryResult) -> None:
        devices = {entry.id: entry.identity for entry in batch}
        for row, reason in verdict.rejected:
            log.warning("the API rejected reading %s: %s", devices[row], reason)
        await self._outbox.settle(verdict.accepted, verdict.rejected)

    async def _pause(self, backoff: Backoff, error: DeliveryFailed) -> None:
        level = logging.DEBUG if backoff.failures else logging.WARNING
        wait = max(backoff.after_failure(), _asked(error))
        self._state.counters.delivery_failures += 1
        self._state.part("api", f"away: {error}")
        self._state.undelivered_since = self._state.undelivered_since or datetime.now(UTC)
        log.log(level, "API: %s; readings wait in the outbox, next try in %.1f s", error, wait)
        self._works.clear()
        with suppress(TimeoutError):  # what works for one lane is worth trying for the other
            async with asyncio.timeout(wait):
                await self._works.wait()

    def _up(self, backoff: Backoff) -> None:
        if backoff.failures:
            log.warning("API takes readings again")
        backoff.reset()
        self._works.set()
        self._state.part("api", "up")
        self._state.undelivered_since = None


def _asked(error: DeliveryFailed) -> float:
    return min(BACKOFF_CAP_S, error.retry_after_s or 0.0)


def _within_bytes(batch: list[OutboxEntry]) -> list[OutboxEntry]:
    """As much of a batch as one request may carry, at least one entry."""
    size, kept = 0, 0
    for entry in batch:
        size += len(entry.body)
        if kept and size > _MOST_BYTES:
            break
        kept += 1
    return batch[:kept]
