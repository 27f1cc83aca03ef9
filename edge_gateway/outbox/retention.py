"""Keeping the outbox within its bound; statements as in `store`.

What has been delivered goes first, then dead letters beyond a tenth. Then readings are thinned, oldest first:
every second one of each bracelet goes, up to an hour ago, then every second one of those left, and so on;
only when nothing is left to thin are the oldest dropped. A critical reading never goes. What is lost is
counted by bracelet and hour, as a gap that is reported like a dead letter.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from dataclasses import dataclass

from edge_gateway.outbox import reading_queries

FULL_FROM = 0.9
"""Share of the bound from which on room is made."""
_UNTOUCHED_S = 3600.0
"""The last hour stays whole as long as possible: it is what matters when the connection comes back."""
_CHUNK = 5000
_LETTERS_AT_ONCE = 100
_LETTERS_SHARE = 0.1
"""Dead letters may take this share of the bound: a device that sends only garbage must not cost a reading."""


@dataclass(frozen=True, slots=True)
class Gap:
    """Readings of one bracelet that were given up.

    Attributes:
        lost: how many of them.
        first, last: when the first and the last of them was measured, ISO 8601.
    """

    device_id: str
    lost: int
    first: str
    last: str


def used_bytes(db: sqlite3.Connection) -> int:
    """Bytes of the file that hold something."""
    (size,), (pages,), (free,) = (
        db.execute(f"PRAGMA {name}").fetchone() for name in ("page_size", "page_count", "freelist_count")
    )
    return int(size) * (int(pages) - int(free))


def enforce_bound(db: sqlite3.Connection, bound: int, now: float) -> int:
    """Take one step towards the bound; returns how many rows it removed, 0 where none needs to go."""
    if used_bytes(db) <= FULL_FROM * bound:
        return 0
    return (
        reading_queries.delete_settled(db, _CHUNK)
        or _drop_letters(db, bound)
        or _thin(db, now)
        or _drop_oldest(db)
    )


def pop_gaps(db: sqlite3.Connection) -> list[Gap]:
    """All gaps that were not reported yet; they are forgotten here."""
    found = db.execute("DELETE FROM gaps RETURNING device_id, lost, first, last").fetchall()
    return [Gap(*row) for row in found]


def _drop_letters(db: sqlite3.Connection, bound: int) -> int:
    """Give up the oldest dead letters where they take more than their share."""
    (size,) = db.execute("SELECT coalesce(sum(length(body)), 0) FROM dead_letters").fetchone()
    if size <= _LETTERS_SHARE * bound:
        return 0
    oldest = "SELECT id FROM dead_letters ORDER BY id LIMIT ?"
    gone = db.execute(f"DELETE FROM dead_letters WHERE id IN ({oldest})", (_LETTERS_AT_ONCE,)).rowcount
    reading_queries.count(db, "dead_letters_dropped", gone)
    return gone


def _thin(db: sqlite3.Connection, now: float) -> int:
    """Go on where the last step ended, or from the oldest on."""
    for row in (_thinned_up_to(db), 0):
        while chunk := _normal_after(db, row, now - _UNTOUCHED_S):
            row = chunk[-1][0]
            if doomed := _every_second(chunk):
                _note_thinned_up_to(db, row)
                return _give_up(db, doomed)
    return 0


def _every_second(chunk: list[tuple[int, str]]) -> list[int]:
    seen: Counter[str] = Counter()
    doomed = []
    for row, device_id in chunk:
        seen[device_id] += 1
        if seen[device_id] % 2 == 0:
            doomed.append(row)
    return doomed


def _drop_oldest(db: sqlite3.Connection) -> int:
    chunk = _normal_after(db, 0, float("inf"))
    return _give_up(db, [row for row, _ in chunk[: _CHUNK // 5]]) if chunk else 0


def _normal_after(db: sqlite3.Connection, row: int, before: float) -> list[tuple[int, str]]:
    """Pending readings that are not critical, oldest first: row and device."""
    return db.execute(
        "SELECT id, device_id FROM readings WHERE delivered_at IS NULL AND rejected_at IS NULL"
        " AND critical = 0 AND id > ? AND committed_at < ? ORDER BY id LIMIT ?",
        (row, before, _CHUNK),
    ).fetchall()


def _give_up(db: sqlite3.Connection, rows: list[int]) -> int:
    db.execute("CREATE TEMP TABLE IF NOT EXISTS doomed (id INTEGER PRIMARY KEY)")
    db.execute("DELETE FROM doomed")
    db.executemany("INSERT INTO doomed (id) VALUES (?)", [(row,) for row in rows])
    db.execute(
        "INSERT INTO gaps (device_id, hour, lost, first, last)"
        " SELECT device_id, substr(at, 1, 13), count(*), min(at), max(at) FROM"
        " (SELECT device_id, json_extract(body, '$.timestamp') AS at"
        "  FROM readings WHERE id IN (SELECT id FROM doomed))"
        " WHERE true GROUP BY device_id, substr(at, 1, 13)"
        " ON CONFLICT (device_id, hour) DO UPDATE SET lost = lost + excluded.lost,"
        " first = min(first, excluded.first), last = max(last, excluded.last)"
    )
    db.execute("DELETE FROM readings WHERE id IN (SELECT id FROM doomed)")
    reading_queries.count(db, "thinned", len(rows))
    return len(rows)


def _thinned_up_to(db: sqlite3.Connection) -> int:
    found = db.execute("SELECT value FROM counters WHERE name = 'thinned_up_to'").fetchone()
    return int(found[0]) if found else 0


def _note_thinned_up_to(db: sqlite3.Connection, row: int) -> None:
    db.execute("INSERT OR REPLACE INTO counters (name, value) VALUES ('thinned_up_to', ?)", (row,))
