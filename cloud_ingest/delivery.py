"""Kafka while it answers, the spool while it does not, and back again.

A record handed to `deliver` is in Kafka (acknowledged by all replicas) or on disk when the call returns.
Kafka has `DECIDE_S` to acknowledge, twice that where it was seen alive meanwhile; then the missing records go
to the spool and the following ones go there directly, until a record replayed from it was acknowledged. What
is acknowledged late is taken out of the spool again.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial

from cloud_ingest.errors import NotDurable, SpoolUnavailable
from cloud_ingest.probes import FRESH_S
from cloud_ingest.publisher import DELIVERY_TIMEOUT_S, Publisher, Ticket
from cloud_ingest.reconciliation import Ledger, Reconciliation
from cloud_ingest.record import Record, Store
from cloud_ingest.spool import Spool, Spooled

log = logging.getLogger(__name__)

DECIDE_S = 0.4
REPLAY_BATCH = 500
IDLE_S = 0.25
AUDIT_S = 30.0
"""How often the spool's records are counted anew."""


class Delivery:
    """Makes records durable.

    Attributes:
        acknowledged: records known to be in Kafka, by topic.
        ledger: how records found their way.

    Args:
        kafka_silence: seconds since the background probe saw Kafka; infinite where it is known to be away.
    """

    def __init__(self, publisher: Publisher, spool: Spool, kafka_silence: Callable[[], float]) -> None:
        self._publisher, self._spool, self._kafka_silence = publisher, spool, kafka_silence
        self._trusted = True
        self._undecided: set[int] = set()
        self._late: set[asyncio.Task[None]] = set()
        self.acknowledged: Counter[str] = Counter()
        self.ledger = Ledger(opening=spool.opening, opening_refused=spool.state.refused)

    @property
    def kafka_takes_records(self) -> bool:
        """Whether new records go to Kafka directly."""
        return self._trusted and self._kafka_answers()

    def _kafka_answers(self) -> bool:
        return self._kafka_silence() < FRESH_S

    async def deliver(self, records: Sequence[Record]) -> list[Store]:
        """Make records durable; says where each one is.

        Raises:
            NotDurable: neither Kafka nor the spool took them all.
        """
        if self.kafka_takes_records:
            stores = await self._through_kafka(records)
        else:
            stores = await self._spool_all(records)
        self.ledger.accepted += len(records)
        return stores

    def reconcile(self) -> Reconciliation:
        """Whether everything promised is in Kafka or in the spool."""
        return self.ledger.reconcile(self._publisher.acknowledged, self._spool.state)

    async def run(self) -> None:
        """Replay the spool whenever Kafka is there; runs until cancelled."""
        audited = time.monotonic()
        while True:
            try:
                await self._catch_up()
                if time.monotonic() - audited > AUDIT_S:
                    audited = time.monotonic()
                    await self._spool.audit()
            except SpoolUnavailable as error:
                log.error("replay: %s", error)
            await asyncio.sleep(IDLE_S)

    async def close(self) -> None:
        """Wait until the fate of every late record is known."""
        if self._late:
            await asyncio.wait(self._late, timeout=DELIVERY_TIMEOUT_S + 1)

    async def _through_kafka(self, records: Sequence[Record]) -> list[Store]:
        ticket = self._publisher.send(records)
        self.ledger.in_flight += len(records)
        try:
            await asyncio.wait({ticket.done}, timeout=DECIDE_S)
            if not ticket.done.done() and self._kafka_silence() < DECIDE_S:  # slow, but alive
                await asyncio.wait({ticket.done}, timeout=DECIDE_S)
            missing = ticket.missing()
            if missing:
                missing = await self._spool_missing(ticket, records, missing)
        except NotDurable:
            ticket.done.add_done_callback(partial(self._abandon, ticket))
            raise
        self.ledger.in_flight -= len(records)
        if not missing:
            self._count(records)
            return ["kafka"] * len(records)
        late = set(missing)
        self._count([record for index, record in enumerate(records) if index not in late])
        return ["spool" if index in late else "kafka" for index in range(len(records))]

    def _abandon(self, ticket: Ticket, _done: asyncio.Future[None]) -> None:
        """Enter what Kafka took of a request that was answered 503."""
        self.ledger.abandoned += sum(ticket.acknowledged)
        self.ledger.in_flight -= len(ticket.acknowledged)

    def _count(self, records: Sequence[Record]) -> None:
        self.acknowledged.update([record.topic for record in records])

    async def _spool_all(self, records: Sequence[Record]) -> list[Store]:
        self.ledger.in_flight += len(records)
        try:
            await self._spool.append(records)
        except SpoolUnavailable as error:
            raise NotDurable(f"Kafka is away, {error}") from None
        finally:
            self.ledger.in_flight -= len(records)
        self.ledger.spooled += len(records)
        return ["spool"] * len(records)

    async def _spool_missing(
        self, ticket: Ticket, records: Sequence[Record], missing: list[int]
    ) -> list[int]:
        """Spool what Kafka did not acknowledge in time; returns the indices that are in the spool."""
        self._distrust(f"{len(missing)} of {len(records)} records not acknowledged in time")
        try:
            rows = await self._spool.append([records[index] for index in missing])
        except SpoolUnavailable as error:
            await asyncio.wait({ticket.done}, timeout=DELIVERY_TIMEOUT_S)
            if ticket.missing():
                raise NotDurable(f"Kafka does not acknowledge, {error}") from None
            return []
        self.ledger.spooled += len(rows)
        self._undecided.update(rows)
        self.ledger.in_flight += len(rows)
        task = asyncio.create_task(self._await_late(ticket, dict(zip(missing, rows, strict=True)), records))
        self._late.add(task)
        task.add_done_callback(self._late.discard)
        return missing

    async def _await_late(self, ticket: Ticket, rows: dict[int, int], records: Sequence[Record]) -> None:
        """Take out of the spool what Kafka acknowledged after all."""
        try:
            await ticket.done
            arrived = [index for index in rows if ticket.acknowledged[index]]
            await self._forget([rows[index] for index in arrived])
            self._count([records[index] for index in arrived])
        except SpoolUnavailable as error:
            log.warning("late acknowledgement: %s; the records will be sent twice", error)
        finally:
            self.ledger.in_flight -= len(rows)
            self._undecided.difference_update(rows.values())

    async def _forget(self, rows: Sequence[int]) -> None:
        """Take out of the spool what is in Kafka; where that fails it will be there twice."""
        try:
            await self._spool.discard(rows)
        except SpoolUnavailable:
            self.ledger.resent += len(rows)
            raise
        self.ledger.replayed += len(rows)

    async def _catch_up(self) -> None:
        while self._kafka_answers():
            if not self._spool.state.pending:
                self._trust()
                return
            spooled = await self._spool.peek(REPLAY_BATCH, skip=self._undecided)
            if not spooled:
                return
            if not await self._replay(spooled):
                self._distrust("a replayed record was not acknowledged")
                return
            self._trust()

    async def _replay(self, spooled: Sequence[Spooled]) -> bool:
        """Send records of the spool; says whether the fate of each was final."""
        ticket = self._publisher.send([entry.record for entry in spooled])
        self.ledger.in_flight += len(spooled)
        try:
            await ticket.done
            arrived = [entry for entry, done in zip(spooled, ticket.acknowledged, strict=True) if done]
            await self._forget([entry.id for entry in arrived])
            self._count([entry.record for entry in arrived])
            for index, reason in ticket.refused.items():
                log.error("Kafka refuses a record of %s: %s", spooled[index].record.topic, reason)
                await self._spool.refuse(spooled[index].id, reason)
        finally:
            self.ledger.in_flight -= len(spooled)
        return len(arrived) + len(ticket.refused) == len(spooled)

    def _trust(self) -> None:
        if not self._trusted:
            log.info("Kafka acknowledges again")
        self._trusted = True

    def _distrust(self, reason: str) -> None:
        if self._trusted:
            log.warning("Kafka: %s; records go to the spool", reason)
        self._trusted = False
