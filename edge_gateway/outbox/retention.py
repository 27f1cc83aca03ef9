"""Keeps the outbox within its size bound; statements as in `reading_queries`.

Delivered and rejected rows are deleted first, then dead letters beyond a tenth of the bound. Then readings
older
than an hour are thinned, oldest first: every second one of each bracelet is deleted, then every second one of
those left, and so on. Only when nothing is left to thin are the oldest deleted. Critical readings are never
deleted. Lost readings are counted by bracelet and hour as gaps, which are reported as dead letters.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from dataclasses import dataclass

from edge_gateway.outbox import reading_queries
from runtime.sqlite_file import used_bytes

FULL_FROM = 0.9
"""Share of the bound above which rows are deleted."""
_UNTOUCHED_S = 3600.0
"""The last hour stays complete as long as possible: it matters most when the connection comes back."""
_CHUNK = 5000
_LETTERS_CHUNK = 100
_LETTERS_SHARE = 0.1
"""Dead letters may take this share of the bound, so that a faulty device cannot displace readings."""


@dataclass(frozen=True, slots=True)
class Gap:
    """Deleted readings of one bracelet.

    Attributes:
        lost: how many.
        first, last: timestamps of the first and the last of them, ISO 8601.
    """

    device_id: str
    lost: int
    first: str
    last: str


def enforce_bound(db: sqlite3.Connection, bound: int, now: float) -> int:
    """Delete one chunk of rows if the file exceeds the bound. Return how many."""
    if used_bytes(db) <= FULL_FROM * bound:
        return 0
    return (
        reading_queries.delete_settled(db, _CHUNK)
        or _drop_letters(db, bound)
        or _thin(db, now)
        or _drop_oldest(db)
    )


def pop_gaps(db: sqlite3.Connection) -> list[Gap]:
    """Delete and return the gaps that were not reported yet."""
    found = db.execute("DELETE FROM gaps RETURNING device_id, lost, first, last").fetchall()
    return [Gap(*row) for row in found]


def _drop_letters(db: sqlite3.Connection, bound: int) -> int:
    """Delete the oldest dead letters if they exceed their share."""
    (size,) = db.execute("SELECT coalesce(sum(length(body)), 0) FROM dead_letters").fetchone()
    if size <= _LETTERS_SHARE * bound:
        return 0
    oldest = "SELECT id FROM dead_letters ORDER BY id LIMIT ?"
    gone = db.execute(f"DELETE FROM dead_letters WHERE id IN ({oldest})", (_LETTERS_CHUNK,)).rowcount
    reading_queries.count(db, "dead_letters_dropped", gone)
    return gone


def _thin(db: sqlite3.Connection, now: float) -> int:
    """Thin one chunk, continuing where the last step ended, then from the oldest again."""
    for row in (_thinned_up_to(db), 0):
        while chunk := _normal_after(db, row, now - _UNTOUCHED_S):
            row = chunk[-1][0]
            if thinned := _every_second_of_each_device(chunk):
                _store_thinned_up_to(db, row)
                return _delete_as_gaps(db, thinned)
    return 0


def _every_second_of_each_device(chunk: list[tuple[int, str]]) -> list[int]:
    seen: Counter[str] = Counter()
    every_second = []
    for row, device_id in chunk:
        seen[device_id] += 1
        if seen[device_id] % 2 == 0:
            every_second.append(row)
    return every_second


def _drop_oldest(db: sqlite3.Connection) -> int:
    chunk = _normal_after(db, 0, float("inf"))
    return _delete_as_gaps(db, [row for row, _ in chunk[: _CHUNK // 5]]) if chunk else 0


def _normal_after(db: sqlite3.Connection, row: int, before: float) -> list[tuple[int, str]]:
    """Return row and device of pending readings that are not critical, oldest first."""
    return db.execute(
        "SELECT id, device_id FROM readings WHERE delivered_at IS NULL AND rejected_at IS NULL"
        " AND critical = 0 AND id > ? AND committed_at < ? ORDER BY id LIMIT ?",
        (row, before, _CHUNK),
    ).fetchall()


def _delete_as_gaps(db: sqlite3.Connection, rows: list[int]) -> int:
    db.execute("CREATE TEMP TABLE IF NOT EXISTS to_delete (id INTEGER PRIMARY KEY)")
    db.execute("DELETE FROM to_delete")
    db.executemany("INSERT INTO to_delete (id) VALUES (?)", [(row,) for row in rows])
    db.execute(
        "INSERT INTO gaps (device_id, hour, lost, first, last)"
        " SELECT device_id, substr(at, 1, 13), count(*), min(at), max(at) FROM"
        " (SELECT device_id, json_extract(body, '$.timestamp') AS at"
        "  FROM readings WHERE id IN (SELECT id FROM to_delete))"
        " WHERE true GROUP BY device_id, substr(at, 1, 13)"
        " ON CONFLICT (device_id, hour) DO UPDATE SET lost = lost + excluded.lost,"
        " first = min(first, excluded.first), last = max(last, excluded.last)"
    )
    db.execute("DELETE FROM readings WHERE id IN (SELECT id FROM to_delete)")
    reading_queries.count(db, "thinned", len(rows))
    return len(rows)


def _thinned_up_to(db: sqlite3.Connection) -> int:
    found = db.execute("SELECT value FROM counters WHERE name = 'thinned_up_to'").fetchone()
    return int(found[0]) if found else 0


def _store_thinned_up_to(db: sqlite3.Connection, row: int) -> None:
    db.execute("INSERT OR REPLACE INTO counters (name, value) VALUES ('thinned_up_to', ?)", (row,))
