"""Readings that the API does not accept even alone: retried apart from the lanes, in the end set aside."""

from __future__ import annotations

import asyncio
import json
import logging
from dataclasses import dataclass
from uuid import uuid5

from edge_gateway.errors import BatchRejected, DeliveryFailed
from edge_gateway.inbox import DeadLetter
from edge_gateway.outbox.outbox import Outbox
from edge_gateway.outbox.reading_queries import OutboxEntry
from edge_gateway.uplink.batch_sender import BatchSender
from vitals.backoff import Backoff
from vitals.reading import NAMESPACE

log = logging.getLogger(__name__)

_FAILURES = 5
"""A reading is set aside after this many failures of its own."""
_MOST_SUSPECTS = 100


@dataclass(slots=True)
class Suspect:
    """A reading that was not accepted alone.

    Attributes:
        failures: attempts that failed while the API accepted another reading.
    """

    entry: OutboxEntry
    failures: int


class SuspectReadings:
    """Retries suspects one by one, and sets aside those that are at fault.

    A failure counts against a reading only if the API accepts another reading directly after it. So nothing
    is set aside in an outage, nor on a single answer. A reading that is set aside stays in the outbox as
    rejected, with the reason, and a dead letter carries its bytes to the cloud.

    Args:
        gateway_id: the sender that the dead letter names.
        backoff: waits between retries.
        dead_letter_news: set when there is a new dead letter.
    """

    def __init__(
        self,
        sender: BatchSender,
        outbox: Outbox,
        gateway_id: str,
        backoff: Backoff,
        dead_letter_news: asyncio.Event,
    ) -> None:
        self._sender, self._outbox, self._gateway_id = sender, outbox, gateway_id
        self._backoff, self._dead_letter_news = backoff, dead_letter_news
        self._suspects: dict[int, Suspect] = {}
        self._news = asyncio.Event()

    @property
    def rows(self) -> list[int]:
        """Rows that the lanes leave out."""
        return [*self._suspects]

    def add(self, entry: OutboxEntry, *, others_accepted: bool) -> bool:
        """Take a reading that failed alone out of its lane; return False when there are too many.

        Args:
            others_accepted: whether the API accepted another reading directly after the failure.
        """
        if len(self._suspects) >= _MOST_SUSPECTS:
            return False
        log.warning("the API does not accept reading %s alone: it is retried apart", entry.identity)
        self._suspects[entry.id] = Suspect(entry, int(others_accepted))
        self._news.set()
        return True

    async def run(self) -> None:
        """Retry suspects until cancelled."""
        while True:
            self._news.clear()
            if not self._suspects:
                self._backoff.reset()
                await self._news.wait()
            await asyncio.sleep(self._backoff.after_failure())
            await self._retry_all()

    async def _retry_all(self) -> None:
        """Retry each suspect once; stop where the API accepts nothing at all."""
        for suspect in list(self._suspects.values()):
            try:
                await self._sender.send([suspect.entry])
            except BatchRejected as error:
                if not await self._sender.accepts_others():
                    return
                suspect.failures += 1
                if suspect.failures < _FAILURES:
                    continue
                await self._set_aside(suspect, error)
            except DeliveryFailed:
                return
            del self._suspects[suspect.entry.id]

    async def _set_aside(self, suspect: Suspect, error: BatchRejected) -> None:
        entry = suspect.entry
        reason = f"the API did not accept it in {suspect.failures} attempts, but other readings: {error}"
        log.error("reading %s is set aside: %s", entry.identity, reason)
        letter = DeadLetter.of(
            entry.body.encode(),
            reason,
            device_id=json.loads(entry.body).get("device_id"),
            error_id=uuid5(NAMESPACE, f"set aside/{entry.identity}"),
        )
        body = json.dumps(letter.to_wire(self._gateway_id), separators=(",", ":"))
        await self._outbox.reject_with_dead_letter(entry.id, reason, letter.error_id, body)
        self._dead_letter_news.set()
