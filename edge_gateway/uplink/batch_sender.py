"""Posts batches of readings and records the API's answers in the outbox."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from edge_gateway.errors import DeliveryFailed
from edge_gateway.outbox.outbox import Outbox
from edge_gateway.outbox.reading_queries import OutboxEntry
from edge_gateway.state import GatewayState
from edge_gateway.uplink.client import ApiClient

log = logging.getLogger(__name__)


class BatchSender:
    """The way of every reading to the API.

    Attributes:
        delivered: set after each delivery.
    """

    def __init__(self, api: ApiClient, outbox: Outbox, state: GatewayState) -> None:
        self._api, self._outbox, self._state = api, outbox, state
        self.delivered = asyncio.Event()
        self._control: OutboxEntry | None = None

    async def send(self, batch: Sequence[OutboxEntry]) -> None:
        """Deliver a batch.

        Raises:
            BatchRejected: the API refuses the batch as a whole, or fails on it.
            DeliveryFailed: the batch is still pending.
        """
        try:
            result = await self._api.post_readings(batch)
        except DeliveryFailed:
            self._state.counters.delivery_failures += 1
            raise
        entries = {entry.id: entry for entry in batch}
        for row, reason in result.rejected:
            log.warning("the API rejected reading %s: %s", entries[row].identity, reason)
        await self._outbox.settle(result.accepted, result.rejected)
        if result.accepted:
            self._control = entries[result.accepted[-1]]
        self._state.part("api", "up")
        self._state.undelivered_since = None
        self.delivered.set()

    @property
    def has_delivered(self) -> bool:
        """Whether the API has accepted a reading since the start."""
        return self._control is not None

    async def accepts_others(self) -> bool:
        """Send the reading accepted last once more; return whether the API accepts it again.

        This tells a batch that the API cannot process from an outage. To the API, the same `message_id` sent
        twice is one reading.
        """
        if self._control is None:
            return False
        try:
            result = await self._api.post_readings([self._control])
        except DeliveryFailed:
            return False
        return bool(result.accepted)
