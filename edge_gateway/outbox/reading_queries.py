"""Statements on readings and dead letters; each runs inside a transaction of the caller.

A row of `readings` is pending until it is delivered or rejected. Counters outlive the purge of old rows.

Each statement passes its rows as one JSON array: Python's sqlite3 releases the interpreter's lock for each
row it binds or fetches, and a busy event loop returns it only every 5 ms. Beside a busy loop, a thousand rows
took 1.4 s one by one and 0.03 s as one array.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import inf
from uuid import UUID

REJECTED_KEPT_S = 30 * 24 * 3600.0
"""How long a rejected reading is kept for inspection."""
_PURGE_CHUNK = 2000
_PENDING = "delivered_at IS NULL AND rejected_at IS NULL"
_NOT_EXCLUDED = "id NOT IN (SELECT value FROM json_each(?))"


@dataclass(frozen=True, slots=True)
class NewReading:
    """A reading to append: its identity, its device and its JSON.

    Attributes:
        critical: whether it met a critical rule; such a reading is never thinned or dropped.
    """

    message_id: UUID
    device_id: str
    body: str
    critical: bool = False


@dataclass(frozen=True, slots=True)
class OutboxEntry:
    """A pending reading or dead letter: its row number and its JSON.

    Attributes:
        identity: `message_id` of a reading, `error_id` of a dead letter.
    """

    id: int
    identity: str
    body: str


@dataclass(frozen=True, slots=True)
class RejectedReading:
    """A reading that the API refused for good.

    Attributes:
        at: time of the rejection, seconds since 1970.
    """

    message_id: str
    at: float
    reason: str


@dataclass(frozen=True, slots=True)
class OutboxCounts:
    """Totals since the outbox was created.

    Attributes:
        committed: distinct readings made durable.
        pending: of those, neither delivered nor rejected nor thinned yet.
        thinned: deleted to stay within the size bound; reported as gaps.
        dead_letters: all dead letters; `dead_letters_pending` of them are not delivered yet.
        dead_letters_dropped: deleted to stay within the size bound.
    """

    committed: int = 0
    pending: int = 0
    delivered: int = 0
    rejected: int = 0
    thinned: int = 0
    dead_letters: int = 0
    dead_letters_pending: int = 0
    dead_letters_dropped: int = 0

    def to_json(self) -> dict[str, int]:
        """Return the counts by name."""
        return asdict(self)


def append(db: sqlite3.Connection, readings: Sequence[NewReading], now: float) -> int:
    """Append readings, without those whose identity is already stored. Return how many are new."""
    rows = [(str(new.message_id), new.device_id, new.body, new.critical) for new in readings]
    added = db.execute(
        "INSERT INTO readings (message_id, device_id, body, critical, committed_at)"
        " SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, ? FROM json_each(?) WHERE true"
        " ON CONFLICT (message_id) DO NOTHING",
        (now, json.dumps(rows)),
    ).rowcount
    count(db, "committed", added)
    return added


def newest(db: sqlite3.Connection) -> int:
    """Return the highest row number, 0 if there is none."""
    (row,) = db.execute("SELECT coalesce(max(id), 0) FROM readings").fetchone()
    return int(row)


def peek_live(
    db: sqlite3.Connection, after: int, limit: int, excluded: Sequence[int] = ()
) -> list[OutboxEntry]:
    """Return the newest pending readings after a row, in the order they were committed."""
    return _entries(
        db,
        "SELECT id, message_id AS identity, body FROM readings"
        f" WHERE {_PENDING} AND {_NOT_EXCLUDED} AND id > ? ORDER BY id DESC LIMIT ?",
        (json.dumps(excluded), after, limit),
    )


def peek_backlog(
    db: sqlite3.Connection, up_to: int, limit: int, excluded: Sequence[int] = ()
) -> list[OutboxEntry]:
    """Return the oldest pending readings up to a row: critical ones if there are any, else the others."""
    for critical in ("AND critical = 1", ""):
        found = _entries(
            db,
            "SELECT id, message_id AS identity, body FROM readings"
            f" WHERE {_PENDING} AND {_NOT_EXCLUDED} {critical} AND id <= ? ORDER BY id LIMIT ?",
            (json.dumps(excluded), up_to, limit),
        )
        if found:
            break
    return found


def acknowledge(db: sqlite3.Connection, ids: Sequence[int], now: float) -> None:
    """Mark readings as delivered."""
    done = db.execute(
        f"UPDATE readings SET delivered_at = ? WHERE {_PENDING} AND id IN (SELECT value FROM json_each(?))",
        (now, json.dumps(ids)),
    ).rowcount
    count(db, "delivered", done)


def reject(db: sqlite3.Connection, id_: int, reason: str, now: float) -> bool:
    """Mark a pending reading as refused for good. Return False if it is no longer pending."""
    done = db.execute(
        f"UPDATE readings SET rejected_at = ?, rejected_reason = ? WHERE id = ? AND {_PENDING}",
        (now, reason, id_),
    ).rowcount
    count(db, "rejected", done)
    return bool(done)


def append_dead_letter(db: sqlite3.Connection, error_id: UUID, body: str) -> None:
    """Append a dead letter, unless its identity is already stored."""
    added = db.execute(
        "INSERT INTO dead_letters (error_id, body) VALUES (?, ?) ON CONFLICT (error_id) DO NOTHING",
        (str(error_id), body),
    ).rowcount
    count(db, "dead_letters", added)


def recent(db: sqlite3.Connection, before: int, since: float, limit: int) -> list[OutboxEntry]:
    """Return the newest readings before a row that were committed since a time, in that order.

    Delivered readings are included.
    """
    return _entries(
        db,
        "SELECT id, message_id AS identity, body FROM"
        " (SELECT id, message_id, body, committed_at FROM readings WHERE id < ? ORDER BY id DESC LIMIT ?)"
        " WHERE committed_at >= ?",
        (before, limit, since),
    )


def peek_dead_letters(db: sqlite3.Connection, limit: int, excluded: Sequence[int] = ()) -> list[OutboxEntry]:
    """Return the oldest pending dead letters."""
    return _entries(
        db,
        "SELECT id, error_id AS identity, body FROM dead_letters"
        f" WHERE delivered_at IS NULL AND {_NOT_EXCLUDED} ORDER BY id LIMIT ?",
        (json.dumps(excluded), limit),
    )


def acknowledge_dead_letters(db: sqlite3.Connection, ids: Sequence[int], now: float) -> None:
    """Mark dead letters as delivered."""
    done = db.execute(
        "UPDATE dead_letters SET delivered_at = ?"
        " WHERE delivered_at IS NULL AND id IN (SELECT value FROM json_each(?))",
        (now, json.dumps(ids)),
    ).rowcount
    count(db, "dead_letters_delivered", done)


def oldest_pending(db: sqlite3.Connection) -> float | None:
    """Return when the oldest pending reading was committed, seconds since 1970; None if there is none."""
    found = db.execute(f"SELECT committed_at FROM readings WHERE {_PENDING} ORDER BY id LIMIT 1").fetchone()
    return float(found[0]) if found else None


def rejected(db: sqlite3.Connection, limit: int) -> list[RejectedReading]:
    """Return the readings rejected last, newest first."""
    found = db.execute(
        "SELECT message_id, rejected_at, rejected_reason FROM readings"
        " WHERE rejected_at IS NOT NULL ORDER BY rejected_at DESC LIMIT ?",
        (limit,),
    ).fetchall()
    return [RejectedReading(*row) for row in found]


def purge(db: sqlite3.Connection, history_s: float, now: float) -> int:
    """Delete a chunk of what was delivered before the history or rejected a month ago. Return its size."""
    return (
        _delete_oldest(db, "readings", "delivered_at", now - history_s, _PURGE_CHUNK)
        + _delete_oldest(db, "readings", "rejected_at", now - REJECTED_KEPT_S, _PURGE_CHUNK)
        + _delete_oldest(db, "dead_letters", "delivered_at", now - history_s, _PURGE_CHUNK)
    )


def delete_settled(db: sqlite3.Connection, most: int) -> int:
    """Delete the oldest delivered or rejected rows, whatever their age. Return how many.

    Rejected critical readings are kept: no other row holds their bytes.
    """
    return (
        _delete_oldest(db, "readings", "delivered_at", inf, most)
        or _delete_oldest(db, "readings", "rejected_at", inf, most, "AND critical = 0")
        or _delete_oldest(db, "dead_letters", "delivered_at", inf, most)
    )


def counts(db: sqlite3.Connection) -> OutboxCounts:
    """Return the totals since the outbox was created."""
    values: dict[str, int] = dict(db.execute("SELECT name, value FROM counters").fetchall())
    committed, delivered, rejected, thinned, letters, sent, dropped = (
        values.get(name, 0)
        for name in (
            "committed",
            "delivered",
            "rejected",
            "thinned",
            "dead_letters",
            "dead_letters_delivered",
            "dead_letters_dropped",
        )
    )
    pending = committed - delivered - rejected - thinned
    return OutboxCounts(
        committed, pending, delivered, rejected, thinned, letters, letters - sent - dropped, dropped
    )


def _delete_oldest(
    db: sqlite3.Connection, table: str, column: str, before: float, most: int, condition: str = ""
) -> int:
    """Delete the oldest rows settled before a time. Each such column has an index."""
    oldest = f"SELECT id FROM {table} WHERE {column} < ? {condition} ORDER BY {column} LIMIT ?"
    return db.execute(f"DELETE FROM {table} WHERE id IN ({oldest})", (before, most)).rowcount


def _entries(db: sqlite3.Connection, query: str, values: tuple[float | str, ...]) -> list[OutboxEntry]:
    """Return the rows of a query, ordered by row number."""
    (found,) = db.execute(
        f"SELECT json_group_array(json_array(id, identity, body)) FROM ({query})", values
    ).fetchone()
    return [OutboxEntry(*row) for row in sorted(json.loads(found))]


def count(db: sqlite3.Connection, name: str, by: int) -> None:
    """Increase a counter."""
    if by:
        db.execute(
            "INSERT INTO counters (name, value) VALUES (?, ?)"
            " ON CONFLICT (name) DO UPDATE SET value = value + excluded.value",
            (name, by),
        )
