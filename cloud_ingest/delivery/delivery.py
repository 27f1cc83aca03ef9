"""Durable delivery: to Kafka while it acknowledges, else to the spool, which is replayed to Kafka later.

When `deliver` returns, every record is in Kafka (acknowledged by all replicas) or on disk. Kafka has
`ACK_TIMEOUT_S` to acknowledge, twice that where the probe got an answer meanwhile; then the missing records
are written to the spool. A record acknowledged after that is deleted from the spool.

Failures are tracked per topic and key, because a topic may be denied, or a partition without a leader,
while the others work. A topic key with a record not acknowledged in time is suspended: its records go to
the spool directly until one of them is acknowledged.

The spool is replayed in passes, oldest record first. A topic key that fails is skipped until the next pass,
so that it does not delay the others and its records keep their order. New records can overtake those in the
spool: they are sent directly as soon as their topic key is not suspended.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from functools import partial
from itertools import compress, islice

from cloud_ingest.delivery.accounting import DeliveryAccounting, DeliveryBalance
from cloud_ingest.delivery.spool import Spool, SpooledRecord
from cloud_ingest.errors import NotDurable, SpoolUnavailable
from cloud_ingest.kafka.producer import DELIVERY_TIMEOUT_S, Publisher, Ticket
from cloud_ingest.kafka.record import Record, Store, TopicKey
from cloud_ingest.metrics.probes import FRESH_S

log = logging.getLogger(__name__)

ACK_TIMEOUT_S = 0.4
REPLAY_BATCH = 500
PASS_S = 10.0
"""Longest duration of a pass; the next one tries the skipped topic keys again."""
IDLE_S, RETRY_S = 0.25, 1.0
"""Shortest and longest pause between passes; it doubles while nothing is replayed."""
AUDIT_S = 30.0
"""How often the spool's records are counted on disk."""


class Delivery:
    """Delivery to Kafka or the spool.

    Attributes:
        acknowledged: records known to be in Kafka, by topic.
        accounting: counters of the records accepted and delivered.

    Args:
        kafka_silence: seconds since Kafka answered the probe; infinite where it is known to be unavailable.
    """

    def __init__(self, publisher: Publisher, spool: Spool, kafka_silence: Callable[[], float]) -> None:
        self._publisher, self._spool, self._kafka_silence = publisher, spool, kafka_silence
        self._suspended: set[TopicKey] = set()
        self._unsettled: Counter[TopicKey] = (
            Counter()
        )  # records in the spool that Kafka may still acknowledge
        self._undeleted: set[int] = set()  # ids of records in Kafka that could not be deleted from the spool
        self._late: set[asyncio.Task[None]] = set()
        self.acknowledged: Counter[str] = Counter()
        self.accounting = DeliveryAccounting(opening=spool.opening, opening_refused=spool.state.refused)

    @property
    def kafka_takes_records(self) -> bool:
        """Whether all new records are sent to Kafka directly."""
        return not self._suspended and self._kafka_answers()

    def _kafka_answers(self) -> bool:
        return self._kafka_silence() < FRESH_S

    async def deliver(self, records: Sequence[Record]) -> list[Store]:
        """Make records durable; return where each one is.

        Raises:
            NotDurable: Kafka and the spool did not take all of them.
        """
        if not self._kafka_answers():
            return await self._spool_all(records)
        if not self._suspended:
            return await self._send_to_kafka(records)
        direct = [record.topic_key not in self._suspended for record in records]
        stores = iter(await self._send_to_kafka(list(compress(records, direct))))
        if suspended := [record for record, each in zip(records, direct, strict=True) if not each]:
            try:
                await self._spool_all(suspended)
            except NotDurable:
                sent = len(records) - len(suspended)
                self.accounting.accepted -= sent
                self.accounting.abandoned += sent
                raise
        return [next(stores) if each else "spool" for each in direct]

    def balance(self) -> DeliveryBalance:
        """Return the balance of the records accepted, delivered and spooled."""
        return self.accounting.balance(self._publisher.acknowledged, self._spool.state)

    async def run(self) -> None:
        """Replay the spool whenever Kafka is available, until cancelled."""
        audited, pause = time.monotonic(), IDLE_S
        while True:
            replayed = self.accounting.replayed
            try:
                await self._replay_pass()
                if time.monotonic() - audited > AUDIT_S:
                    audited = time.monotonic()
                    await self._spool.audit()
            except SpoolUnavailable as error:
                log.error("replay: %s", error)
            stuck = (
                self._spool.state.pending and self.accounting.replayed == replayed and self._kafka_answers()
            )
            pause = min(2 * pause, RETRY_S) if stuck else IDLE_S
            await asyncio.sleep(pause)

    async def close(self) -> None:
        """Wait until every late record is acknowledged or given up."""
        if self._late:
            await asyncio.wait(self._late, timeout=DELIVERY_TIMEOUT_S + 1)

    async def _send_to_kafka(self, records: Sequence[Record]) -> list[Store]:
        ticket = self._publisher.send(records)
        self.accounting.in_flight += len(records)
        try:
            await asyncio.wait({ticket.done}, timeout=ACK_TIMEOUT_S)
            if not ticket.done.done() and self._kafka_silence() < ACK_TIMEOUT_S:  # slow, but reachable
                await asyncio.wait({ticket.done}, timeout=ACK_TIMEOUT_S)
            missing = ticket.missing()
            if missing:
                missing = await self._spool_missing(ticket, records, missing)
        except NotDurable:
            ticket.done.add_done_callback(partial(self._count_abandoned, ticket))
            raise
        self.accounting.in_flight -= len(records)
        self.accounting.accepted += len(records)
        if not missing:
            self._count_acknowledged(records)
            return ["kafka"] * len(records)
        late = set(missing)
        self._count_acknowledged([record for index, record in enumerate(records) if index not in late])
        return ["spool" if index in late else "kafka" for index in range(len(records))]

    def _count_abandoned(self, ticket: Ticket, _done: asyncio.Future[None]) -> None:
        """Count the records of a request answered 503 that Kafka acknowledged."""
        self.accounting.abandoned += sum(ticket.acknowledged)
        self.accounting.in_flight -= len(ticket.acknowledged)

    def _count_acknowledged(self, records: Sequence[Record]) -> None:
        self.acknowledged.update([record.topic for record in records])

    async def _spool_all(self, records: Sequence[Record]) -> list[Store]:
        self.accounting.in_flight += len(records)
        try:
            await self._spool.append(records)
        except SpoolUnavailable as error:
            raise NotDurable(f"Kafka does not acknowledge, {error}") from None
        finally:
            self.accounting.in_flight -= len(records)
        self.accounting.accepted += len(records)
        self.accounting.spooled += len(records)
        return ["spool"] * len(records)

    async def _spool_missing(
        self, ticket: Ticket, records: Sequence[Record], missing: list[int]
    ) -> list[int]:
        """Spool records not acknowledged in time; return the indices of those in the spool."""
        spooled = [records[index] for index in missing]
        topic_keys = Counter(record.topic_key for record in spooled)
        self._unsettled.update(topic_keys)  # before they are in the spool, so that no replay pass sends them
        try:
            ids = await self._spool.append(spooled)
            self.accounting.spooled += len(ids)
            self.accounting.in_flight += len(ids)
            self._await_late(ticket, dict(zip(missing, ids, strict=True)), records)
        except SpoolUnavailable as error:
            await asyncio.wait({ticket.done}, timeout=DELIVERY_TIMEOUT_S)
            if ticket.missing():
                raise NotDurable(f"Kafka does not acknowledge, {error}") from None
            return []
        finally:
            self._unsettled -= topic_keys
        return missing

    def _await_late(self, ticket: Ticket, ids: dict[int, int], records: Sequence[Record]) -> None:
        """Suspend the topic keys of records in the spool, and settle them once Kafka has decided.

        Args:
            ids: ids in the spool, by index in `records`.
        """
        topic_keys = Counter(records[index].topic_key for index in ids)
        self._unsettled.update(topic_keys)
        self._suspend(topic_keys, ticket.failure or "no acknowledgement in time")

        async def settle() -> None:
            await ticket.done
            try:
                unsettled = await self._settle(ticket, ids, records)
                self.accounting.in_flight -= len(unsettled)
            finally:
                self._unsettled -= topic_keys

        task = asyncio.create_task(settle())
        self._late.add(task)
        task.add_done_callback(self._late.discard)

    async def _settle(self, ticket: Ticket, ids: dict[int, int], records: Sequence[Record]) -> dict[int, int]:
        """Delete records in the spool that Kafka acknowledged, move those it rejected, return the others.

        Args:
            ids: ids in the spool, by index in `records`.
        """
        acknowledged = [index for index in ids if ticket.acknowledged[index]]
        refused = [index for index in ids if index in ticket.refused]
        settled = {*acknowledged, *refused}
        if acknowledged:
            await self._delete([ids[index] for index in acknowledged])
        self._count_acknowledged([records[index] for index in acknowledged])
        for index in refused:
            await self._refuse(ids[index], records[index].topic, ticket.refused[index])
        self.accounting.in_flight -= len(settled)
        self._resume({records[index].topic_key for index in settled})
        return {index: row for index, row in ids.items() if index not in settled}

    async def _delete(self, ids: Collection[int]) -> bool:
        """Delete records in Kafka from the spool; return False, and remember them, where the disk fails."""
        try:
            await self._spool.discard(ids)
        except SpoolUnavailable:
            self._undeleted.update(ids)
            self.accounting.resent += len(ids)
            return False
        self._undeleted.difference_update(ids)
        self.accounting.replayed += len(ids)
        return True

    async def _delete_remaining(self) -> None:
        """Try again to delete records that are in Kafka."""
        deleted = True
        while deleted and (ids := list(islice(self._undeleted, REPLAY_BATCH))):
            self.accounting.resent -= len(ids)
            self.accounting.in_flight += len(ids)
            deleted = await self._delete(ids)
            self.accounting.in_flight -= len(ids)

    async def _refuse(self, row: int, topic: str, reason: str) -> None:
        log.error("Kafka rejects a record of %s: %s", topic, reason)
        try:
            await self._spool.refuse(row, reason)
        except SpoolUnavailable as error:
            log.error("the rejected record stays in the spool: %s", error)

    async def _replay_pass(self) -> None:
        """Send the records of the spool once, oldest first."""
        await self._delete_remaining()
        if not self._spool.state.pending:
            self._resume(self._suspended)
        skipped: set[TopicKey] = set()  # for the whole pass, so that the later records wait as well
        after, end = 0, time.monotonic() + PASS_S
        while self._spool.state.pending and self._kafka_answers() and time.monotonic() < end:
            skipped.update(self._unsettled)
            spooled = await self._spool.peek(REPLAY_BATCH, self._undeleted, skipped, after)
            if not spooled:
                break
            skipped |= await self._replay(spooled)
            after = spooled[-1].id

    async def _replay(self, spooled: Sequence[SpooledRecord]) -> set[TopicKey]:
        """Send records of the spool; return the topic keys of those not acknowledged in time."""
        records = [entry.record for entry in spooled]
        ticket = self._publisher.send(records)
        self.accounting.in_flight += len(records)
        await asyncio.wait({ticket.done}, timeout=2 * ACK_TIMEOUT_S)
        ids = {index: entry.id for index, entry in enumerate(spooled)}
        unsettled = await self._settle(ticket, ids, records)
        if unsettled:
            self._await_late(ticket, unsettled, records)
        return {records[index].topic_key for index in unsettled}

    def _resume(self, topic_keys: set[TopicKey]) -> None:
        if self._suspended and not self._suspended - topic_keys:
            log.info("Kafka acknowledges again")
        self._suspended -= topic_keys

    def _suspend(self, topic_keys: Iterable[TopicKey], reason: str) -> None:
        topics = {topic for topic, _ in topic_keys} - {topic for topic, _ in self._suspended}
        if topics:
            log.warning("Kafka, %s: %s; records are spooled", ", ".join(sorted(topics)), reason)
        self._suspended.update(topic_keys)
