"""Delivery of readings and dead letters; a row stays pending until the API confirms it."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import UTC, datetime

from edge_gateway.errors import BatchRejected, DeliveryFailed
from edge_gateway.outbox.outbox import Outbox
from edge_gateway.outbox.reading_queries import OutboxEntry
from edge_gateway.state import GatewayState
from edge_gateway.uplink.batch_sender import BatchSender
from edge_gateway.uplink.client import ApiClient
from edge_gateway.uplink.suspects import SuspectReadings
from vitals.backoff import Backoff

log = logging.getLogger(__name__)

BACKOFF_CAP_S = 60.0
_MOST_BYTES = 4 * 2**20
"""Of one request before compression; the API accepts 8 MiB compressed."""
_DEAD_LETTERS_PER_REQUEST = 50
_RETRY_DEAD_LETTERS_S = 600.0
"""A dead letter that the API did not accept alone is retried after this time."""


class Uplink:
    """Delivers pending readings in two concurrent lanes: new readings and the backlog.

    The backlog is everything up to a boundary. The boundary moves up whenever more readings have arrived than
    one request of the live lane carries, as after an outage: the newest readings are always sent first. Of
    the backlog, critical readings are sent first, then the others from the oldest on. Within a lane, the
    readings of a bracelet keep their order.

    A batch that the API rejects is halved until the readings at fault are alone; those leave the lane
    (`SuspectReadings`).

    Attributes:
        news: to be set when the outbox has a new reading.
        dead_letter_news: to be set when the outbox has a new dead letter.
    """

    def __init__(self, api: ApiClient, outbox: Outbox, state: GatewayState, batch_size: int) -> None:
        self._api, self._outbox, self._state, self._batch_size = api, outbox, state, batch_size
        self.news, self.dead_letter_news = asyncio.Event(), asyncio.Event()
        self._backlog_news = asyncio.Event()
        self._boundary = 0
        self._sender = BatchSender(api, outbox, state)
        self._suspects = SuspectReadings(
            self._sender, outbox, state.gateway_id, _new_backoff(), self.dead_letter_news
        )

    async def run(self) -> None:
        """Deliver readings until cancelled."""
        self._boundary = await self._outbox.newest()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._lane(self._peek_live, self.news), name="live lane")
            tasks.create_task(self._lane(self._peek_backlog, self._backlog_news), name="backlog lane")
            tasks.create_task(self._suspects.run(), name="suspect readings")

    async def _peek_live(self, limit: int) -> list[OutboxEntry]:
        batch = await self._outbox.peek_live(self._boundary, limit, self._suspects.rows)
        if len(batch) == limit:
            self._boundary = batch[0].id - 1
            self._backlog_news.set()
        return batch

    async def _peek_backlog(self, limit: int) -> list[OutboxEntry]:
        return await self._outbox.peek_backlog(self._boundary, limit, self._suspects.rows)

    async def _lane(self, peek: Callable[[int], Awaitable[list[OutboxEntry]]], news: asyncio.Event) -> None:
        backoff, size = _new_backoff(), self._batch_size
        while True:
            news.clear()
            batch = _within_bytes(await peek(size))
            if not batch:
                await news.wait()
                continue
            try:
                await self._sender.send(batch)
            except BatchRejected as error:
                size = max(1, len(batch) // 2)
                if not await self._can_go_on(batch):
                    await self._pause(backoff, error)
            except DeliveryFailed as error:
                await self._pause(backoff, error)
            else:
                size = min(self._batch_size, 2 * size)
                if backoff.failures:
                    log.warning("the API accepts readings again")
                backoff.reset()

    async def _can_go_on(self, batch: list[OutboxEntry]) -> bool:
        """Return whether the lane can send its next batch at once after this one was rejected.

        It can if the API works: then a smaller batch is next, or another reading, since a single one is moved
        to the suspects. In an outage, a single reading stays in the lane. Until the API has accepted a first
        reading, the two cannot be told apart; then the reading is moved and the lane waits.
        """
        others_accepted = await self._sender.accepts_others()
        if len(batch) == 1 and (others_accepted or not self._sender.has_delivered):
            moved = self._suspects.add(batch[0], others_accepted=others_accepted)
            return moved and others_accepted
        return others_accepted and len(batch) > 1

    async def _pause(self, backoff: Backoff, error: DeliveryFailed) -> None:
        level = logging.DEBUG if backoff.failures else logging.WARNING
        wait = _wait_after(error, backoff)
        self._state.part("api", f"away: {error}")
        self._state.undelivered_since = self._state.undelivered_since or datetime.now(UTC)
        log.log(level, "API: %s; readings stay in the outbox, next attempt in %.1f s", error, wait)
        self._sender.delivered.clear()
        with suppress(TimeoutError):  # a delivery in the other lane ends the wait
            async with asyncio.timeout(wait):
                await self._sender.delivered.wait()

    async def run_dead_letters(self) -> None:
        """Deliver dead letters until cancelled."""
        backoff, size = _new_backoff(), _DEAD_LETTERS_PER_REQUEST
        failed_alone: dict[int, float] = {}
        while True:
            self.dead_letter_news.clear()
            oldest = time.monotonic() - _RETRY_DEAD_LETTERS_S
            left_out = [row for row, failed_at in failed_alone.items() if failed_at > oldest]
            batch = _within_bytes(await self._outbox.peek_dead_letters(size, left_out))
            if not batch:
                with suppress(TimeoutError):
                    async with asyncio.timeout(_RETRY_DEAD_LETTERS_S if failed_alone else None):
                        await self.dead_letter_news.wait()
                continue
            try:
                await self._api.post_errors(batch)
            except DeliveryFailed as error:
                log.debug("dead letters not delivered: %s", error)
                if isinstance(error, BatchRejected):
                    size = max(1, len(batch) // 2)
                    if len(batch) == 1:
                        failed_alone[batch[0].id] = time.monotonic()
                await asyncio.sleep(_wait_after(error, backoff))
                continue
            await self._outbox.acknowledge_dead_letters([entry.id for entry in batch])
            for entry in batch:
                failed_alone.pop(entry.id, None)
            size = min(_DEAD_LETTERS_PER_REQUEST, 2 * size)
            backoff.reset()


def _new_backoff() -> Backoff:
    return Backoff(1.0, BACKOFF_CAP_S, random.random)


def _wait_after(error: DeliveryFailed, backoff: Backoff) -> float:
    """Seconds until the next attempt: the back-off, or longer where the API asks for it."""
    return max(backoff.after_failure(), min(BACKOFF_CAP_S, error.retry_after_s or 0.0))


def _within_bytes(batch: list[OutboxEntry]) -> list[OutboxEntry]:
    """Return as much of a batch as one request may carry, at least one entry."""
    size, count = 0, 0
    for entry in batch:
        size += len(entry.body)
        if count and size > _MOST_BYTES:
            break
        count += 1
    return batch[:count]
