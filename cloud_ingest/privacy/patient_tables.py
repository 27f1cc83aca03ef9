"""Tables with rows of patients: every table of the public schema with a `patient_id`, found in the catalogue.

Erasure and key rotation cover tables that are added later without any change here. A partitioned table is
represented by its partitions, so that rows can be changed in portions by `ctid`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from psycopg2 import sql
from psycopg2.extensions import cursor

PORTION = 5_000
"""Rows changed in one transaction."""

_LEAVES = """
SELECT c.relname, coalesce((SELECT relname FROM pg_class WHERE oid = pg_partition_root(c.oid)), c.relname),
       EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisunique AND a.attnum = ANY(i.indkey))
FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r' AND a.attname = 'patient_id'
ORDER BY 2, 1
"""

_BY_PATIENT = "patient_id = ANY(%(pseudonyms)s)"


@dataclass(frozen=True, slots=True)
class Leaf:
    """A table or partition, and the condition that selects the rows of a patient.

    Attributes:
        table: name of the table.
        name: name of the table or partition, with the schema if it is not public.
        condition: SQL over the parameter `pseudonyms`.
        key: columns that identify a row.
        unique: whether the patient is part of a unique key: rows of two pseudonyms may collide.
    """

    table: str
    name: str
    condition: str = _BY_PATIENT
    key: str = "ctid"
    unique: bool = False

    def count(self, cur: cursor, pseudonyms: list[str]) -> int:
        """Return the number of rows of these pseudonyms."""
        cur.execute(self._sql("SELECT count(*) FROM {table} WHERE {condition}"), {"pseudonyms": pseudonyms})
        ((count,),) = cur.fetchall()
        return int(count)

    def delete(self, cur: cursor, pseudonyms: list[str]) -> int:
        """Delete at most `PORTION` rows of these pseudonyms; return how many."""
        return self._change(cur, "DELETE FROM {table}", {"pseudonyms": pseudonyms})

    def rename(self, cur: cursor, old: str, new: str) -> int:
        """Move at most `PORTION` rows from one pseudonym to another; return how many."""
        return self._change(cur, "UPDATE {table} SET patient_id = %(new)s", {"pseudonyms": [old], "new": new})

    def _change(self, cur: cursor, what: str, values: dict[str, Any]) -> int:
        portion = " WHERE ({key}) IN (SELECT {key} FROM {table} WHERE {condition} LIMIT %(portion)s)"
        cur.execute(self._sql(what + portion), values | {"portion": PORTION})
        return cur.rowcount

    def _sql(self, statement: str) -> sql.Composed:
        table = sql.Identifier(*self.name.split("."))
        condition, key = sql.SQL(self.condition), sql.SQL(self.key)
        return sql.SQL(statement).format(table=table, condition=condition, key=key)


def leaves_with_patients(cur: cursor) -> list[Leaf]:
    """Return all tables and partitions with a `patient_id`."""
    cur.execute(_LEAVES)
    return [Leaf(table, name, unique=unique) for name, table, unique in cur.fetchall()]
