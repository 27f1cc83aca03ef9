"""The recorder's accounting: each message is a new row, a duplicate, a dead letter or a heartbeat.

The counts are updated in the transaction that inserts the rows, so that both always agree. A message that is
read again, because the recorder crashed before it committed the offset, is not counted again.

A partition that ends before what was read of it was created anew and is counted from its first message on.
One that has already grown beyond that point cannot be told from the old: its first messages are recorded and
not counted.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, NamedTuple

from psycopg2.extensions import cursor

from cloud_ingest.kafka.record import TopicPartition

log = logging.getLogger(__name__)

_ADD = """
INSERT INTO recorder_books AS b (topic, consumed, recorded, duplicates, dead_letters, heartbeats, skipped)
VALUES (%s, %s, %s, %s, %s, %s, %s)
ON CONFLICT (topic) DO UPDATE SET consumed = b.consumed + excluded.consumed,
    recorded = b.recorded + excluded.recorded, duplicates = b.duplicates + excluded.duplicates,
    dead_letters = b.dead_letters + excluded.dead_letters, heartbeats = b.heartbeats + excluded.heartbeats,
    skipped = b.skipped + excluded.skipped
"""
_ADVANCE = """
INSERT INTO recorder_offsets (topic, partition, next_offset) VALUES (%s, %s, %s)
ON CONFLICT (topic, partition) DO UPDATE
    SET next_offset = greatest(recorder_offsets.next_offset, excluded.next_offset)
"""
"""Never decreases an offset: a recorder that hung may finish after another one has continued."""
_RESET = "UPDATE recorder_offsets SET next_offset = 0 WHERE topic = %s AND partition = %s"
_TOTALS = """
SELECT min(since), coalesce(sum(consumed), 0)::bigint, coalesce(sum(recorded), 0)::bigint,
    coalesce(sum(duplicates), 0)::bigint, coalesce(sum(dead_letters), 0)::bigint,
    coalesce(sum(heartbeats), 0)::bigint, coalesce(sum(skipped), 0)::bigint
FROM recorder_books
"""


EndOffsets = Callable[[Collection[TopicPartition]], Mapping[TopicPartition, int]]
"""Asks Kafka for the offset of the next message of each partition."""


class MessagePosition(NamedTuple):
    """Topic, partition and offset of a message."""

    topic: str
    partition: int
    offset: int

    @property
    def topic_partition(self) -> TopicPartition:
        """Its topic and partition."""
        return self.topic, self.partition


@dataclass(frozen=True, slots=True)
class RecorderTotals:
    """Messages since `since`: consumed = recorded + duplicates + dead_letters + heartbeats.

    Attributes:
        duplicates: messages whose row existed already, or that name an erased patient.
        heartbeats: heartbeats of gateways, which have no row.
        skipped: messages that Kafka deleted before they were read.
    """

    since: datetime | None
    consumed: int
    recorded: int
    duplicates: int
    dead_letters: int
    heartbeats: int
    skipped: int

    @property
    def difference(self) -> int:
        """Messages that are not accounted for; 0 when the accounts balance."""
        accounted = self.recorded + self.duplicates + self.dead_letters + self.heartbeats
        return self.consumed - accounted + self.skipped

    def document(self) -> dict[str, Any]:
        """Return the totals as `GET /reconciliation` shows them."""
        since = self.since.isoformat() if self.since else None
        return asdict(self) | {"since": since, "difference": self.difference}


@dataclass(frozen=True, slots=True)
class BatchOutcome:
    """What became of the messages of a batch.

    Attributes:
        read: every message, in order within each partition.
        rows: messages that were passed to the database as rows.
        dead: messages that became dead letters.
        heartbeats: heartbeats of gateways.
        inserted: number of new rows by topic.
    """

    read: Sequence[MessagePosition]
    rows: Collection[MessagePosition]
    dead: Collection[MessagePosition]
    heartbeats: Collection[MessagePosition]
    inserted: Mapping[str, int]


def account(cur: cursor, batch: BatchOutcome, end_offsets: EndOffsets) -> None:
    """Count one batch in the running transaction.

    Args:
        end_offsets: called only when a message seems to have been read before.
    """
    expected = _expected_offsets(cur, batch.read, end_offsets)
    new: list[MessagePosition] = []
    skipped: Counter[str] = Counter()
    advanced: dict[TopicPartition, int] = {}
    for each in batch.read:
        expected_offset = expected.get(each.topic_partition, each.offset)
        if each.offset >= expected_offset:
            new.append(each)
            skipped[each.topic] += each.offset - expected_offset
            expected[each.topic_partition] = advanced[each.topic_partition] = each.offset + 1
    for topic in sorted({each.topic for each in new}):
        of_topic = [each for each in new if each.topic == topic]
        dead = sum(each in batch.dead for each in of_topic)
        rows = sum(each in batch.rows and each not in batch.dead for each in of_topic)
        heartbeats = sum(each in batch.heartbeats for each in of_topic)
        inserted = batch.inserted.get(topic, 0)
        counts = (len(of_topic), inserted, rows - inserted, dead, heartbeats, skipped[topic])
        cur.execute(_ADD, (topic, *counts))
    for partition, offset in advanced.items():
        cur.execute(_ADVANCE, (*partition, offset))


def totals(cur: cursor) -> RecorderTotals:
    """Return the totals over all topics."""
    cur.execute(_TOTALS)
    row = cur.fetchone()
    return RecorderTotals(*row) if row else RecorderTotals(None, 0, 0, 0, 0, 0, 0)


def next_offsets(cur: cursor) -> dict[TopicPartition, int]:
    """Return the offset that the recorder reads next, by topic and partition."""
    cur.execute("SELECT topic, partition, next_offset FROM recorder_offsets")
    return {(topic, partition): offset for topic, partition, offset in cur.fetchall()}


def _expected_offsets(
    cur: cursor, read: Sequence[MessagePosition], end_offsets: EndOffsets
) -> dict[TopicPartition, int]:
    """Return the next offset of each partition; without partitions that were created anew."""
    expected = next_offsets(cur)
    if again := {p.topic_partition for p in read if p.offset < expected.get(p.topic_partition, 0)}:
        for partition, end in end_offsets(again).items():
            if end < expected[partition]:
                log.warning("%s/%d ends before what was read of it: it was created anew", *partition)
                cur.execute(_RESET, partition)
                del expected[partition]
    return expected
