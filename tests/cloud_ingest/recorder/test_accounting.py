"""The recorder's books in a real PostgreSQL."""

from __future__ import annotations

import threading
from collections.abc import Collection, Mapping

from psycopg2.extensions import connection, cursor

from cloud_ingest.kafka.admin import Place
from cloud_ingest.recorder.accounting import Ends, Position, enter, next_offsets, totals
from deploy.local.postgres import Dsn
from vitals.topics import MEASUREMENTS

PLACE = (MEASUREMENTS, 0)


def ending(end: int) -> Ends:
    def ends(places: Collection[Place]) -> Mapping[Place, int]:
        return dict.fromkeys(places, end)

    return ends


def read(cur: cursor, first: int, behind: int, new: int, end: int = 2**40) -> None:
    """Enter the messages from one offset to before another."""
    positions = [Position(*PLACE, offset) for offset in range(first, behind)]
    enter(cur, positions, positions, (), (), {MEASUREMENTS: new}, ending(end))


def books(database: connection) -> tuple[int, int, int, int, int]:
    """Consumed, recorded, duplicates, skipped; the next offset."""
    with database, database.cursor() as cur:
        found = totals(cur)
        return found.consumed, found.recorded, found.duplicates, found.skipped, next_offsets(cur)[PLACE]


def test_a_recorder_that_finishes_late_moves_no_offset_back(dsn: Dsn, database: connection) -> None:
    frozen = dsn.connect()

    def finish_late() -> None:
        with frozen, frozen.cursor() as cur:
            read(cur, 5, 10, new=0)

    with database, database.cursor() as cur:
        read(cur, 0, 5, new=5)
    late = threading.Thread(target=finish_late)
    with database, database.cursor() as cur:
        read(cur, 5, 15, new=10)
        late.start()  # reads the books as they were, then waits for this transaction
        late.join(0.5)
        assert late.is_alive()
    late.join(10)
    frozen.close()
    with database, database.cursor() as cur:
        read(cur, 15, 20, new=5)
    assert books(database) == (25, 20, 5, 0, 20)


def test_what_is_read_a_second_time_is_not_entered_again(database: connection) -> None:
    for _ in range(2):
        with database, database.cursor() as cur:
            read(cur, 0, 5, new=5, end=5)
    assert books(database) == (5, 5, 0, 0, 5)


def test_a_log_made_anew_is_entered_from_its_first_message_on(database: connection) -> None:
    with database, database.cursor() as cur:
        read(cur, 0, 5, new=5)
    with database, database.cursor() as cur:
        read(cur, 1, 3, new=2, end=3)
    with database, database.cursor() as cur:
        read(cur, 4, 8, new=4, end=8)
    assert books(database) == (11, 11, 0, 1, 8)
