"""Erasing a child: the request on record, the rows gone, the name last, and the proof by counting.

A request stands until it is lifted: the recorder leaves out every later message of that child, such as a
backlog that a gateway still held, and every dead letter that names it; running alarms forget it. The request
itself keeps the pseudonyms, which say nothing without the key; the lake erases the same pseudonyms and notes
it in `lake_state` and `lake_done_at`.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from psycopg2.extensions import connection, cursor

from cloud_ingest.errors import NotErased
from cloud_ingest.privacy.patient_tables import PORTION, Leaf, leaves_with_patients

log = logging.getLogger(__name__)

REQUEST, RUNNING, DONE = "requested", "running", "done"


@dataclass(frozen=True, slots=True)
class Erasure:
    """A request to erase a child.

    Attributes:
        database_state, lake_state: requested, running or done.
        rows_erased: by table.
        lifted_at: when it ceased to keep the child's later messages out.
    """

    request_id: str
    pseudonyms: tuple[str, ...]
    requested_at: datetime
    database_state: str
    database_done_at: datetime | None
    rows_erased: dict[str, int]
    lake_state: str
    lake_done_at: datetime | None
    lifted_at: datetime | None

    @property
    def state(self) -> str:
        """Of all of it: done when every store has erased."""
        if self.lifted_at:
            return "lifted"
        states = {self.database_state, self.lake_state}
        return states.pop() if len(states) == 1 else RUNNING


_COLUMNS = (
    "request_id::text, pseudonyms, requested_at, database_state, database_done_at, rows_erased, lake_state,"
    " lake_done_at, lifted_at"
)


def request(database: connection, pseudonyms: Sequence[str], by: str) -> Erasure:
    """Put a request on record; one that stands for the same pseudonyms already is returned instead.

    Args:
        pseudonyms: under every key version; older ones that were replaced by them are added.
    """
    with database, database.cursor() as cur:
        cur.execute("SELECT pg_advisory_xact_lock(5071946019)")  # two at once must not make two requests
        cur.execute(
            "SELECT old_pseudonym FROM pseudonym_links WHERE new_pseudonym = ANY(%(given)s)"
            " UNION SELECT new_pseudonym FROM pseudonym_links WHERE old_pseudonym = ANY(%(given)s)",
            {"given": list(pseudonyms)},
        )
        everything = sorted({*pseudonyms, *(linked for (linked,) in cur.fetchall())})
        cur.execute(
            f"SELECT {_COLUMNS} FROM erasure_requests WHERE pseudonyms @> %s AND lifted_at IS NULL",
            (everything,),
        )
        if standing := cur.fetchall():
            return _erasure(standing[0])
        cur.execute(
            f"INSERT INTO erasure_requests (pseudonyms, requested_by) VALUES (%s, %s) RETURNING {_COLUMNS}",
            (everything, by),
        )
        made = _erasure(cur.fetchall()[0])
    log.warning("erasure %s requested", made.request_id)
    return made


def find(database: connection, request_id: UUID) -> Erasure | None:
    """A request, where there is one."""
    with database, database.cursor() as cur:
        cur.execute(f"SELECT {_COLUMNS} FROM erasure_requests WHERE request_id = %s", (str(request_id),))
        rows = cur.fetchall()
    return _erasure(rows[0]) if rows else None


def lift(database: connection, request_id: UUID) -> bool:
    """Let a child's messages in again, as when it is enrolled anew; False where no such request stands."""
    with database, database.cursor() as cur:
        cur.execute(
            "UPDATE erasure_requests SET lifted_at = now() WHERE request_id = %s AND lifted_at IS NULL",
            (str(request_id),),
        )
        return cur.rowcount == 1


def erase_requested(database: connection) -> list[Erasure]:
    """Erase what is requested from this database; one that was interrupted goes on.

    Raises:
        NotErased: rows were left, or came back; the request stays open.
    """
    with database, database.cursor() as cur:
        cur.execute(
            f"SELECT {_COLUMNS} FROM erasure_requests WHERE database_state <> %s AND lifted_at IS NULL"
            " ORDER BY requested_at",
            (DONE,),
        )
        waiting = [_erasure(row) for row in cur.fetchall()]
    return [_erase(database, each) for each in waiting]


def rows_left(database: connection, pseudonyms: Sequence[str]) -> dict[str, int]:
    """How many rows each table still holds of these pseudonyms, the identity mapping included."""
    with database, database.cursor() as cur:
        left = {
            leaf.name: leaf.count(cur, list(pseudonyms)) for leaf in (*leaves_with_patients(cur), *_OTHERS)
        }
    return {name: count for name, count in left.items() if count}


def _erase(database: connection, erasure: Erasure) -> Erasure:
    pseudonyms = list(erasure.pseudonyms)
    with database, database.cursor() as cur:
        cur.execute(
            "UPDATE erasure_requests SET database_state = %s WHERE request_id = %s",
            (RUNNING, erasure.request_id),
        )
    with database, database.cursor() as cur:
        # Whoever read the table before the request stood has finished once this lock is ours.
        cur.execute("LOCK TABLE erasure_requests IN ACCESS EXCLUSIVE MODE")
    with database, database.cursor() as cur:
        leaves = leaves_with_patients(cur)
    for leaf in (*leaves, *_OTHERS):  # the identity mapping comes last
        _delete(database, leaf, pseudonyms, erasure.request_id)
    if left := rows_left(database, pseudonyms):
        raise NotErased(f"erasure {erasure.request_id}: rows left in {', '.join(sorted(left))}")
    with database, database.cursor() as cur:
        cur.execute(
            "UPDATE erasure_requests SET database_state = %s, database_done_at = now() WHERE request_id = %s"
            f" RETURNING {_COLUMNS}",
            (DONE, erasure.request_id),
        )
        done = _erasure(cur.fetchall()[0])
    log.warning("erasure %s: %s, none left", done.request_id, done.rows_erased or "no rows")
    return done


def _delete(database: connection, leaf: Leaf, pseudonyms: list[str], request_id: str) -> None:
    """Delete in portions, each counted in the transaction that deletes it."""
    while True:
        with database, database.cursor() as cur:
            deleted = leaf.delete(cur, pseudonyms)
            if deleted:
                _count(cur, request_id, leaf.table, deleted)
        if deleted < PORTION:
            return


def _count(cur: cursor, request_id: str, table: str, deleted: int) -> None:
    cur.execute(
        "UPDATE erasure_requests SET rows_erased = rows_erased ||"
        " jsonb_build_object(%(table)s, coalesce((rows_erased ->> %(table)s)::bigint, 0) + %(deleted)s)"
        " WHERE request_id = %(request_id)s",
        {"table": table, "deleted": deleted, "request_id": request_id},
    )


def _erasure(row: tuple[Any, ...]) -> Erasure:
    request_id, pseudonyms, *rest = row
    return Erasure(request_id, tuple(pseudonyms), *rest)


_OTHERS = (
    Leaf(
        "ingestion_errors",
        "ingestion_errors",
        "EXISTS (SELECT FROM unnest(%(pseudonyms)s) pseudonym"
        " WHERE position(convert_to(pseudonym, 'UTF8') IN original) > 0)",
        key="error_id, timestamp",
    ),
    Leaf("pseudonym_links", "pseudonym_links", "old_pseudonym = ANY(%(pseudonyms)s)"),
    Leaf("patients", "identity.patients", "pseudonym = ANY(%(pseudonyms)s)"),
)
"""Dead letters, whose bytes were scrubbed to pseudonyms; then what leads to a child, its name last of all."""
