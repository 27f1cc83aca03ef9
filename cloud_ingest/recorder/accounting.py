"""The recorder's own books: each message is a new row, one that was there, a dead letter or a heartbeat.

Kept in the database, in the transaction that holds the rows, so that rows and books cannot disagree. What is
read a second time, after a crash before its offset was committed, is not entered again.

A log that ends before what was read of it was made anew and is entered from its first message on. One that
has grown beyond that by then cannot be told from the old: its first messages are recorded, and not entered.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, NamedTuple

from psycopg2.extensions import cursor

from cloud_ingest.kafka.admin import Place

log = logging.getLogger(__name__)

_ENTER = """
INSERT INTO recorder_books AS b (topic, consumed, recorded, duplicates, dead_letters, heartbeats, skipped)
VALUES (%s, %s, %s, %s, %s, %s, %s)
ON CONFLICT (topic) DO UPDATE SET consumed = b.consumed + excluded.consumed,
    recorded = b.recorded + excluded.recorded, duplicates = b.duplicates + excluded.duplicates,
    dead_letters = b.dead_letters + excluded.dead_letters, heartbeats = b.heartbeats + excluded.heartbeats,
    skipped = b.skipped + excluded.skipped
"""
_MOVE = """
INSERT INTO recorder_offsets (topic, partition, next_offset) VALUES (%s, %s, %s)
ON CONFLICT (topic, partition) DO UPDATE
    SET next_offset = greatest(recorder_offsets.next_offset, excluded.next_offset)
"""
"""Never back: a recorder that was frozen may finish after another went on in its place."""
_BEGIN_ANEW = "UPDATE recorder_offsets SET next_offset = 0 WHERE topic = %s AND partition = %s"
_TOTALS = """
SELECT min(since), coalesce(sum(consumed), 0)::bigint, coalesce(sum(recorded), 0)::bigint,
    coalesce(sum(duplicates), 0)::bigint, coalesce(sum(dead_letters), 0)::bigint,
    coalesce(sum(heartbeats), 0)::bigint, coalesce(sum(skipped), 0)::bigint
FROM recorder_books
"""


Ends = Callable[[Collection[Place]], Mapping[Place, int]]
"""Asks Kafka where logs end now."""


class Position(NamedTuple):
    """Where a message stands in Kafka."""

    topic: str
    partition: int
    offset: int

    @property
    def place(self) -> Place:
        """Its topic and partition."""
        return self.topic, self.partition


@dataclass(frozen=True, slots=True)
class Totals:
    """What the recorder has read since `since`: consumed = recorded + duplicates + dead_letters + heartbeats.

    Attributes:
        duplicates: rows that were there already, or are of an erased child.
        heartbeats: of gateways, which are no rows.
        skipped: messages that were gone from Kafka before they were read.
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
        """Messages of which nothing came; 0 when the books add up."""
        explained = self.recorded + self.duplicates + self.dead_letters + self.heartbeats
        return self.consumed - explained + self.skipped

    def document(self) -> dict[str, Any]:
        """As `GET /reconciliation` shows it."""
        since = self.since.isoformat() if self.since else None
        return asdict(self) | {"since": since, "difference": self.difference}


def enter(
    cur: cursor,
    read: Sequence[Position],
    rows: Collection[Position],
    dead: Collection[Position],
    heartbeats: Collection[Position],
    inserted: Mapping[str, int],
    ends: Ends,
) -> None:
    """Enter one batch in the running transaction.

    Args:
        read: every message of it, each partition's in order.
        rows: those that were handed to the database as rows.
        dead: those that became dead letters.
        heartbeats: those that are no rows.
        inserted: new rows, by topic.
        ends: asked only when something seems to be read a second time.
    """
    following = _following(cur, read, ends)
    fresh: list[Position] = []
    skipped: Counter[str] = Counter()
    moved: dict[Place, int] = {}
    for each in read:
        expected = following.get(each.place, each.offset)
        if each.offset >= expected:
            fresh.append(each)
            skipped[each.topic] += each.offset - expected
            following[each.place] = moved[each.place] = each.offset + 1
    for topic in sorted({each.topic for each in fresh}):
        ours = [each for each in fresh if each.topic == topic]
        buried = sum(each in dead for each in ours)
        handed = sum(each in rows and each not in dead for each in ours)
        beats = sum(each in heartbeats for each in ours)
        new = inserted.get(topic, 0)
        cur.execute(_ENTER, (topic, len(ours), new, handed - new, buried, beats, skipped[topic]))
    for place, offset in moved.items():
        cur.execute(_MOVE, (*place, offset))


def totals(cur: cursor) -> Totals:
    """The books over all topics."""
    cur.execute(_TOTALS)
    found = cur.fetchone()
    return Totals(*found) if found else Totals(None, 0, 0, 0, 0, 0, 0)


def next_offsets(cur: cursor) -> dict[Place, int]:
    """The offset the recorder reads next, by topic and partition."""
    cur.execute("SELECT topic, partition, next_offset FROM recorder_offsets")
    return {(topic, partition): offset for topic, partition, offset in cur.fetchall()}


def _following(cur: cursor, read: Sequence[Position], ends: Ends) -> dict[Place, int]:
    """What is to come next of each log; nothing is known of one that was made anew."""
    following = next_offsets(cur)
    if again := {each.place for each in read if each.offset < following.get(each.place, 0)}:
        for place, end in ends(again).items():
            if end < following[place]:
                log.warning("%s/%d ends before what was read of it: it was made anew", *place)
                cur.execute(_BEGIN_ANEW, place)
                del following[place]
    return following
