"""Kafka while it answers, the spool while it does not, and back again.

A record handed to `deliver` is in Kafka (acknowledged by all replicas) or on disk when the call returns.
Kafka has `DECIDE_S` to acknowledge, twice that where it was seen alive meanwhile; then the missing records go
to the spool. What is acknowledged late is taken out of the spool again.

Trust is per lane (topic and key), because a topic may be denied or a partition be without a leader while all
others work. A lane with a record not acknowledged in time is doubted: its records go to the spool directly
until one of it is acknowledged.

The spool is replayed in passes, oldest first. A lane that does not get through is left for the next pass, so
it holds up nobody else, and its records keep their order. Only new records overtake: they go directly as soon
as their lane is trusted, however much of it is still in the spool.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from functools import partial
from itertools import compress, islice

from cloud_ingest.delivery.accounting import Ledger, Reconciliation
from cloud_ingest.delivery.spool import Spool, SpooledRecord
from cloud_ingest.errors import NotDurable, SpoolUnavailable
from cloud_ingest.kafka.producer import DELIVERY_TIMEOUT_S, Publisher, Ticket
from cloud_ingest.kafka.record import Lane, Record, Store
from cloud_ingest.metrics.probes import FRESH_S

log = logging.getLogger(__name__)

DECIDE_S = 0.4
REPLAY_BATCH = 500
PASS_S = 10.0
"""After this long a pass begins anew: what did not get through gets its next chance."""
IDLE_S, RETRY_S = 0.25, 1.0
"""Pause between passes; doubled, up to the second, while what is left does not move."""
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
        self._doubted: set[Lane] = set()
        self._open: Counter[Lane] = Counter()  # records in the spool and, their fate unknown, with Kafka
        self._kept: set[int] = set()  # records in Kafka that the spool could not forget
        self._late: set[asyncio.Task[None]] = set()
        self.acknowledged: Counter[str] = Counter()
        self.ledger = Ledger(opening=spool.opening, opening_refused=spool.state.refused)

    @property
    def kafka_takes_records(self) -> bool:
        """Whether all new records go to Kafka directly."""
        return not self._doubted and self._kafka_answers()

    def _kafka_answers(self) -> bool:
        return self._kafka_silence() < FRESH_S

    async def deliver(self, records: Sequence[Record]) -> list[Store]:
        """Make records durable; says where each one is.

        Raises:
            NotDurable: neither Kafka nor the spool took them all.
        """
        if not self._kafka_answers():
            return await self._spool_all(records)
        if not self._doubted:
            return await self._through_kafka(records)
        direct = [record.lane not in self._doubted for record in records]
        stores = iter(await self._through_kafka(list(compress(records, direct))))
        if doubtful := [record for record, each in zip(records, direct, strict=True) if not each]:
            try:
                await self._spool_all(doubtful)
            except NotDurable:
                sent = len(records) - len(doubtful)
                self.ledger.accepted -= sent
                self.ledger.abandoned += sent
                raise
        return [next(stores) if each else "spool" for each in direct]

    def reconcile(self) -> Reconciliation:
        """Whether everything promised is in Kafka or in the spool."""
        return self.ledger.reconcile(self._publisher.acknowledged, self._spool.state)

    async def run(self) -> None:
        """Replay the spool whenever Kafka is there; runs until cancelled."""
        audited, pause = time.monotonic(), IDLE_S
        while True:
            replayed = self.ledger.replayed
            try:
                await self._catch_up()
                if time.monotonic() - audited > AUDIT_S:
                    audited = time.monotonic()
                    await self._spool.audit()
            except SpoolUnavailable as error:
                log.error("replay: %s", error)
            stuck = self._spool.state.pending and self.ledger.replayed == replayed and self._kafka_answers()
            pause = min(2 * pause, RETRY_S) if stuck else IDLE_S
            await asyncio.sleep(pause)

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
        self.ledger.accepted += len(records)
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
            raise NotDurable(f"Kafka does not acknowledge, {error}") from None
        finally:
            self.ledger.in_flight -= len(records)
        self.ledger.accepted += len(records)
        self.ledger.spooled += len(records)
        return ["spool"] * len(records)

    async def _spool_missing(
        self, ticket: Ticket, records: Sequence[Record], missing: list[int]
    ) -> list[int]:
        """Spool what Kafka did not acknowledge in time; returns the indices that are in the spool."""
        spooled = [records[index] for index in missing]
        lanes = Counter(record.lane for record in spooled)
        self._open.update(lanes)  # before they are in the spool: no pass may take them from there
        try:
            rows = await self._spool.append(spooled)
            self.ledger.spooled += len(rows)
            self.ledger.in_flight += len(rows)
            self._await_late(ticket, dict(zip(missing, rows, strict=True)), records)
        except SpoolUnavailable as error:
            await asyncio.wait({ticket.done}, timeout=DELIVERY_TIMEOUT_S)
            if ticket.missing():
                raise NotDurable(f"Kafka does not acknowledge, {error}") from None
            return []
        finally:
            self._open -= lanes
        return missing

    def _await_late(self, ticket: Ticket, rows: dict[int, int], records: Sequence[Record]) -> None:
        """Doubt the lanes of records that are in the spool; enter later what became of them with Kafka."""
        lanes = Counter(records[index].lane for index in rows)
        self._open.update(lanes)
        self._doubt(lanes, ticket.failure or "no acknowledgement in time")

        async def enter() -> None:
            await ticket.done
            try:
                left = await self._enter(ticket, rows, records)
                self.ledger.in_flight -= len(left)
            finally:
                self._open -= lanes

        task = asyncio.create_task(enter())
        self._late.add(task)
        task.add_done_callback(self._late.discard)

    async def _enter(self, ticket: Ticket, rows: dict[int, int], records: Sequence[Record]) -> dict[int, int]:
        """Enter what became of records that are in the spool; returns those of which nothing is known.

        Args:
            rows: their ids in the spool by index.
        """
        arrived = [index for index in rows if ticket.acknowledged[index]]
        refused = [index for index in rows if index in ticket.refused]
        known = {*arrived, *refused}
        if arrived:
            await self._forget([rows[index] for index in arrived])
        self._count([records[index] for index in arrived])
        for index in refused:
            await self._refuse(rows[index], records[index].topic, ticket.refused[index])
        self.ledger.in_flight -= len(known)
        self._trust({records[index].lane for index in known})
        return {index: row for index, row in rows.items() if index not in known}

    async def _forget(self, rows: Collection[int]) -> bool:
        """Take out of the spool what is in Kafka; what the disk does not let go is remembered."""
        try:
            await self._spool.discard(rows)
        except SpoolUnavailable:
            self._kept.update(rows)
            self.ledger.resent += len(rows)
            return False
        self._kept.difference_update(rows)
        self.ledger.replayed += len(rows)
        return True

    async def _forget_kept(self) -> None:
        """Try again to take out of the spool what is in Kafka."""
        gone = True
        while gone and (rows := list(islice(self._kept, REPLAY_BATCH))):
            self.ledger.resent -= len(rows)
            self.ledger.in_flight += len(rows)
            gone = await self._forget(rows)
            self.ledger.in_flight -= len(rows)

    async def _refuse(self, row: int, topic: str, reason: str) -> None:
        log.error("Kafka refuses a record of %s: %s", topic, reason)
        try:
            await self._spool.refuse(row, reason)
        except SpoolUnavailable as error:
            log.error("it stays where it is: %s", error)

    async def _catch_up(self) -> None:
        """One pass over the spool."""
        await self._forget_kept()
        if not self._spool.state.pending:
            self._trust(self._doubted)
        held: set[Lane] = set()  # for the whole pass: once passed over, a lane's later records wait as well
        after, end = 0, time.monotonic() + PASS_S
        while self._spool.state.pending and self._kafka_answers() and time.monotonic() < end:
            held.update(self._open)
            spooled = await self._spool.peek(REPLAY_BATCH, self._kept, held, after)
            if not spooled:
                break
            held |= await self._replay(spooled)
            after = spooled[-1].id

    async def _replay(self, spooled: Sequence[SpooledRecord]) -> set[Lane]:
        """Send records of the spool; returns the lanes of those Kafka does not acknowledge in time."""
        records = [entry.record for entry in spooled]
        ticket = self._publisher.send(records)
        self.ledger.in_flight += len(records)
        await asyncio.wait({ticket.done}, timeout=2 * DECIDE_S)
        left = await self._enter(ticket, {index: entry.id for index, entry in enumerate(spooled)}, records)
        if left:
            self._await_late(ticket, left, records)
        return {records[index].lane for index in left}

    def _trust(self, lanes: set[Lane]) -> None:
        if self._doubted and not self._doubted - lanes:
            log.info("Kafka acknowledges again")
        self._doubted -= lanes

    def _doubt(self, lanes: Iterable[Lane], reason: str) -> None:
        news = {topic for topic, _ in lanes} - {topic for topic, _ in self._doubted}
        if news:
            log.warning("Kafka, %s: %s; records go to the spool", ", ".join(sorted(news)), reason)
        self._doubted.update(lanes)
