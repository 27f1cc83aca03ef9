"""Key rotation: rows move from old pseudonyms to those of a new key version; old pseudonyms still resolve.

Which new pseudonym belongs to which old one can only be computed from the patient identifiers, so an operator
provides the list of patients. Readings that arrive after the API has the new key carry the new pseudonym;
late ones under the old (from the spool or Kafka) are recorded under the new one too.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass

from psycopg2.extensions import connection, cursor

from cloud_ingest.privacy.patient_tables import PORTION, leaves_with_patients
from vitals.pseudonym import Pseudonymiser

log = logging.getLogger(__name__)

_LINK = """
INSERT INTO pseudonym_links (old_pseudonym, new_pseudonym) VALUES (%(old)s, %(new)s)
ON CONFLICT (old_pseudonym) DO UPDATE
    SET new_pseudonym = excluded.new_pseudonym, linked_at = now(), database_done_at = NULL,
        lake_done_at = NULL
    WHERE pseudonym_links.new_pseudonym <> excluded.new_pseudonym;
UPDATE pseudonym_links SET new_pseudonym = %(new)s, database_done_at = NULL, lake_done_at = NULL
    WHERE new_pseudonym = %(old)s;
UPDATE erasure_requests
    SET pseudonyms = pseudonyms || %(new)s::text, database_state = 'requested', lake_state = 'requested'
    WHERE pseudonyms @> ARRAY[%(old)s] AND NOT pseudonyms @> ARRAY[%(new)s];
INSERT INTO identity.patients SELECT %(new)s, display_name FROM identity.patients WHERE pseudonym = %(old)s
    ON CONFLICT DO NOTHING;
"""

_LEFT = """
SELECT count(DISTINCT patient_id) FROM measurements WHERE patient_id ~ '^p[0-9]+_' AND patient_id !~ %s
"""


@dataclass(frozen=True, slots=True)
class Moved:
    """Result of one run.

    Attributes:
        links: pseudonyms whose rows were moved.
        rows: rows that were moved.
        others: pseudonyms of older keys that still have readings: patients missing from the list.
    """

    links: int
    rows: int
    others: int


def rekey(database: connection, keys: Pseudonymiser, patients: Iterable[str]) -> Moved:
    """Link the older pseudonyms of each patient to the newest, then move the rows.

    Can be interrupted at any point and run again.
    """
    for patient in patients:
        new, *older = keys.every_pseudonym(patient)
        with database, database.cursor() as cur:
            for old in older:
                cur.execute(_LINK, {"old": old, "new": new})
    with database, database.cursor() as cur:
        # Transactions that read the table before the links were stored have ended once this lock is granted.
        cur.execute("LOCK TABLE pseudonym_links IN ACCESS EXCLUSIVE MODE")
    with database, database.cursor() as cur:
        cur.execute(
            "SELECT old_pseudonym, new_pseudonym FROM pseudonym_links WHERE database_done_at IS NULL"
            " ORDER BY linked_at, old_pseudonym"
        )
        pending = cur.fetchall()
    rows = sum(_move(database, old, new) for old, new in pending)
    with database, database.cursor() as cur:
        return Moved(len(pending), rows, _others(cur, max(keys.keys)))


def _move(database: connection, old: str, new: str) -> int:
    """Move the rows of one pseudonym, one portion per transaction; delete the old name last."""
    with database, database.cursor() as cur:
        leaves = leaves_with_patients(cur)
    total = 0
    for leaf in leaves:
        # rows of both would collide: the writers of that table follow the link (`identities`)
        if leaf.unique:
            continue
        moved = PORTION
        while moved == PORTION:
            with database, database.cursor() as cur:
                moved = leaf.rename(cur, old, new)
            total += moved
    with database, database.cursor() as cur:
        cur.execute("DELETE FROM identity.patients WHERE pseudonym = %s", (old,))
        cur.execute(
            "UPDATE pseudonym_links SET database_done_at = now()"
            " WHERE old_pseudonym = %s AND new_pseudonym = %s",
            (old, new),
        )
    log.info("moved %d rows to the newest key version", total)
    return total


def _others(cur: cursor, newest: int) -> int:
    cur.execute(_LEFT, (f"^p{newest}_",))
    ((count,),) = cur.fetchall()
    return int(count)
