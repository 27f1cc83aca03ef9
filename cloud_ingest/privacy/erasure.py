"""Erasure of a patient from PostgreSQL: store the request, delete the rows, the name last, then count.

Kafka and the lake are not erased. `lake_state` and `lake_done_at` are stored for the lake to fill in; nothing
sets them yet, so that the state of a request stays `running`.

A request holds until it is lifted: the recorder drops later messages of the patient, such as a gateway's
backlog, and dead letters that name the patient; running alarms forget the patient. The request keeps the
pseudonyms, which identify nobody without the key.
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
    """A request to erase a patient.

    Attributes:
        database_state, lake_state: requested, running or done.
        rows_erased: by table.
        lifted_at: since when messages of the patient are recorded again.
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
        """State of the whole request: done when PostgreSQL and the lake are."""
        if self.lifted_at:
            return "lifted"
        states = {self.database_state, self.lake_state}
        return states.pop() if len(states) == 1 else RUNNING


_COLUMNS = (
    "request_id::text, pseudonyms, requested_at, database_state, database_done_at, rows_erased, lake_state,"
    " lake_done_at, lifted_at"
)


def request(database: connection, pseudonyms: Sequence[str], by: str) -> Erasure:
    """Store a request; return the existing one if there is an open request for the same pseudonyms.

    Args:
        pseudonyms: of the patient, under every key version; older ones that these replaced are added.
    """
    with database, database.cursor() as cur:
        cur.execute("SELECT pg_advisory_xact_lock(5071946019)")  # no two requests for one patient
        cur.execute(
            "SELECT old_pseudonym FROM pseudonym_links WHERE new_pseudonym = ANY(%(given)s)"
            " UNION SELECT new_pseudonym FROM pseudonym_links WHERE old_pseudonym = ANY(%(given)s)",
            {"given": list(pseudonyms)},
        )
        all_pseudonyms = sorted({*pseudonyms, *(linked for (linked,) in cur.fetchall())})
        cur.execute(
            f"SELECT {_COLUMNS} FROM erasure_requests WHERE pseudonyms @> %s AND lifted_at IS NULL",
            (all_pseudonyms,),
        )
        if existing := cur.fetchall():
            return _erasure(existing[0])
        cur.execute(
            f"INSERT INTO erasure_requests (pseudonyms, requested_by) VALUES (%s, %s) RETURNING {_COLUMNS}",
            (all_pseudonyms, by),
        )
        stored = _erasure(cur.fetchall()[0])
    log.warning("erasure %s requested", stored.request_id)
    return stored


def find(database: connection, request_id: UUID) -> Erasure | None:
    """Return a request, or None."""
    with database, database.cursor() as cur:
        cur.execute(f"SELECT {_COLUMNS} FROM erasure_requests WHERE request_id = %s", (str(request_id),))
        rows = cur.fetchall()
    return _erasure(rows[0]) if rows else None


def lift(database: connection, request_id: UUID) -> bool:
    """Lift a request, as when the patient is enrolled again; return False if it is not open."""
    with database, database.cursor() as cur:
        cur.execute(
            "UPDATE erasure_requests SET lifted_at = now() WHERE request_id = %s AND lifted_at IS NULL",
            (str(request_id),),
        )
        return cur.rowcount == 1


def erase_requested(database: connection) -> list[Erasure]:
    """Erase all requested patients from this database; continue erasures that were interrupted.

    Raises:
        NotErased: rows are left; the request stays open.
    """
    with database, database.cursor() as cur:
        cur.execute(
            f"SELECT {_COLUMNS} FROM erasure_requests WHERE database_state <> %s AND lifted_at IS NULL"
            " ORDER BY requested_at",
            (DONE,),
        )
        requested = [_erasure(row) for row in cur.fetchall()]
    return [_erase(database, each) for each in requested]


def rows_left(database: connection, pseudonyms: Sequence[str]) -> dict[str, int]:
    """Return the rows of these pseudonyms that are left by table, the identity mapping included."""
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
        # Transactions that read the table before the request was stored have ended once this lock is granted.
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
    log.warning(
        "erasure %s: erased %s from PostgreSQL, none left", done.request_id, done.rows_erased or "no rows"
    )
    return done


def _delete(database: connection, leaf: Leaf, pseudonyms: list[str], request_id: str) -> None:
    """Delete in portions; count each in the transaction that deletes it."""
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
"""Dead letters, whose bytes hold pseudonyms; then the links between pseudonyms; the name last."""
