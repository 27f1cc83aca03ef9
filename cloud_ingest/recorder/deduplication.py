"""Which rows of a batch enter PostgreSQL, and under which pseudonym.

A unique constraint on a partitioned table includes the time, so the same identity under another time is
looked for before the insert: the first row of an identity stays, whatever a later one says. Two recorders
handed one identity under two patients in the same milliseconds would not see each other; gateways derive
identities from bracelet and counter, so that takes a sender that makes them up.
"""

from __future__ import annotations

from collections.abc import Sequence

from psycopg2.extensions import cursor

from cloud_ingest.privacy import identities
from cloud_ingest.recorder.row_mapping import Row, Table

_STORED = """
SET LOCAL enable_seqscan = off;
SELECT {identity}::text FROM {table} WHERE {identity} = ANY(%s::uuid[])
"""
"""By the index, whatever the planner thinks of a partition without statistics yet: 5 ms a batch, not 70."""


def admitted(cur: cursor, table: Table, rows: Sequence[Row]) -> list[Row]:
    """The rows to insert: identities not stored yet, each once; nobody erased; old pseudonyms replaced."""
    first: dict[str, Row] = {}
    for row in _under_current_pseudonyms(cur, table, rows):
        first.setdefault(row[0], row)
    if not first:
        return []
    cur.execute(_STORED.format(identity=table.columns[0], table=table.name), (list(first),))
    for (stored,) in cur.fetchall():
        first.pop(stored, None)  # two recorders may have stored one twice, at different times
    return list(first.values())


def _under_current_pseudonyms(cur: cursor, table: Table, rows: Sequence[Row]) -> Sequence[Row]:
    named = [_pseudonyms(table, row) for row in rows]
    if not any(named):
        return rows
    found = identities.find(cur, set().union(*named))
    left = [row for row, names in zip(rows, named, strict=True) if found.erased.isdisjoint(names)]
    if (place := table.patient) is None:
        return left
    return [(*row[:place], found.of(row[place]), *row[place + 1 :]) for row in left]


def _pseudonyms(table: Table, row: Row) -> set[str]:
    """Of the children a row names: its own, or those in the bytes of a dead letter."""
    if table.patient is not None:
        return {row[table.patient]} - {None}
    original = row[table.columns.index("original")] or b""
    return {name.decode() for name in identities.PSEUDONYM.findall(original)}
