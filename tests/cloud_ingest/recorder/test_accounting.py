"""The recorder's accounting in a real PostgreSQL."""

from __future__ import annotations

import threading
from collections.abc import Collection, Mapping

from psycopg2.extensions import connection, cursor

from cloud_ingest.kafka.record import TopicPartition
from cloud_ingest.recorder.accounting import (
    BatchOutcome,
    EndOffsets,
    MessagePosition,
    account,
    next_offsets,
    totals,
)
from deploy.local.postgres import Dsn
from tests.waiting import PATIENCE_S
from vitals.topics import MEASUREMENTS

PARTITION = (MEASUREMENTS, 0)


def ending_at(end: int) -> EndOffsets:
    def end_offsets(partitions: Collection[TopicPartition]) -> Mapping[TopicPartition, int]:
        return dict.fromkeys(partitions, end)

    return end_offsets


def read(cur: cursor, first: int, behind: int, new: int, end: int = 2**40) -> None:
    """Account for the messages from one offset to before another."""
    positions = [MessagePosition(*PARTITION, offset) for offset in range(first, behind)]
    account(cur, BatchOutcome(positions, positions, (), (), {MEASUREMENTS: new}), ending_at(end))


def counts(database: connection) -> tuple[int, int, int, int, int]:
    """Consumed, recorded, duplicates, skipped; the next offset."""
    with database, database.cursor() as cur:
        counted = totals(cur)
        return (
            counted.consumed,
            counted.recorded,
            counted.duplicates,
            counted.skipped,
            next_offsets(cur)[PARTITION],
        )


def test_recorder_that_finishes_late_does_not_move_an_offset_back(dsn: Dsn, database: connection) -> None:
    frozen = dsn.connect()

    def finish_late() -> None:
        with frozen, frozen.cursor() as cur:
            read(cur, 5, 10, new=0)

    with database, database.cursor() as cur:
        read(cur, 0, 5, new=5)
    late = threading.Thread(target=finish_late)
    with database, database.cursor() as cur:
        read(cur, 5, 15, new=10)
        late.start()  # reads the counts as they were, then waits for this transaction
        late.join(0.5)
        assert late.is_alive()
    late.join(PATIENCE_S)
    frozen.close()
    with database, database.cursor() as cur:
        read(cur, 15, 20, new=5)
    assert counts(database) == (25, 20, 5, 0, 20)


def test_message_that_is_read_twice_is_counted_once(database: connection) -> None:
    for _ in range(2):
        with database, database.cursor() as cur:
            read(cur, 0, 5, new=5, end=5)
    assert counts(database) == (5, 5, 0, 0, 5)


def test_partition_created_anew_is_counted_from_its_first_message_on(database: connection) -> None:
    with database, database.cursor() as cur:
        read(cur, 0, 5, new=5)
    with database, database.cursor() as cur:
        read(cur, 1, 3, new=2, end=3)
    with database, database.cursor() as cur:
        read(cur, 4, 8, new=4, end=8)
    assert counts(database) == (11, 11, 0, 1, 8)
