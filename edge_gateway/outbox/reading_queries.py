"""The statements on the outbox's tables; they run inside a transaction somebody else opens.

A row of `readings` is pending until it is delivered or rejected. Counters outlive the purge of old rows.

Rows go in and out as one JSON array a statement: Python's sqlite3 gives up the interpreter's lock for each
row it binds or fetches, and a busy event loop hands it back only every 5 ms. With the loop busy, a thousand
rows took 1.4 s one by one and 0.03 s as one array.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import inf
from uuid import UUID

REJECTED_KEPT_S = 30 * 24 * 3600.0
"""How long a reading the API refused stays, for a person to look at."""
_PURGE_CHUNK = 2000
_PENDING = "delivered_at IS NULL AND rejected_at IS NULL"


@dataclass(frozen=True, slots=True)
class NewReading:
    """A reading to be kept: its identity, its device and its JSON.

    Attributes:
        critical: whether it met a critical rule; then it is never given up.
    """

    message_id: UUID
    device_id: str
    body: str
    critical: bool = False


@dataclass(frozen=True, slots=True)
class OutboxEntry:
    """Something pending: its row and its JSON.

    Attributes:
        identity: `message_id` of a reading, `error_id` of a dead letter.
    """

    id: int
    identity: str
    body: str


@dataclass(frozen=True, slots=True)
class RejectedReading:
    """A reading the API refused for good.

    Attributes:
        at: when, seconds since 1970.
    """

    message_id: str
    at: float
    reason: str


@dataclass(frozen=True, slots=True)
class OutboxCounts:
    """What an outbox has held since it was made.

    Attributes:
        committed: distinct readings made durable.
        pending: of those, neither delivered nor rejected nor given up yet.
        thinned: given up to stay within the bound; reported as gaps.
        dead_letters: of all times; `dead_letters_pending` of them still to be sent.
        dead_letters_dropped: given up to stay within the bound.
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
        """As an object of numbers."""
        return asdict(self)


def append(db: sqlite3.Connection, readings: Sequence[NewReading], now: float) -> int:
    """Keep readings; one whose identity is known is left out. Returns how many are new."""
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
    """The newest row; 0 where there is none."""
    (row,) = db.execute("SELECT coalesce(max(id), 0) FROM readings").fetchone()
    return int(row)


def peek_live(db: sqlite3.Connection, after: int, limit: int) -> list[OutboxEntry]:
    """The newest pending readings behind a row, in the order they were committed."""
    return _entries(
        db,
        "SELECT id, message_id AS identity, body FROM readings"
        f" WHERE {_PENDING} AND id > ? ORDER BY id DESC LIMIT ?",
        (after, limit),
    )


def peek_backlog(db: sqlite3.Connection, up_to: int, limit: int) -> list[OutboxEntry]:
    """The oldest pending readings up to a row: critical ones where there are any, else the others."""
    for critical in ("AND critical = 1", ""):
        found = _entries(
            db,
            "SELECT id, message_id AS identity, body FROM readings"
            f" WHERE {_PENDING} {critical} AND id <= ? ORDER BY id LIMIT ?",
            (up_to, limit),
        )
        if found:
            break
    return found


def acknowledge(db: sqlite3.Connection, ids: Sequence[int], now: float) -> None:
    """The API has these readings."""
    done = db.execute(
        f"UPDATE readings SET delivered_at = ? WHERE {_PENDING} AND id IN (SELECT value FROM json_each(?))",
        (now, json.dumps(ids)),
    ).rowcount
    count(db, "delivered", done)


def reject(db: sqlite3.Connection, id_: int, reason: str, now: float) -> None:
    """The API refuses this reading for good."""
    done = db.execute(
        "UPDATE readings SET rejected_at = ?, rejected_reason = ?"
        " WHERE id = ? AND delivered_at IS NULL AND rejected_at IS NULL",
        (now, reason, id_),
    ).rowcount
    count(db, "rejected", done)


def append_dead_letter(db: sqlite3.Connection, error_id: UUID, body: str) -> None:
    """Keep a dead letter; one whose identity is known is left out."""
    added = db.execute(
        "INSERT INTO dead_letters (error_id, body) VALUES (?, ?) ON CONFLICT (error_id) DO NOTHING",
        (str(error_id), body),
    ).rowcount
    count(db, "dead_letters", added)


def recent(db: sqlite3.Connection, before: int, since: float, limit: int) -> list[OutboxEntry]:
    """The newest readings before a row that were committed since then, delivered or not, in that order."""
    return _entries(
        db,
        "SELECT id, message_id AS identity, body FROM"
        " (SELECT id, message_id, body, committed_at FROM readings WHERE id < ? ORDER BY id DESC LIMIT ?)"
        " WHERE committed_at >= ?",
        (before, limit, since),
    )


def peek_dead_letters(db: sqlite3.Connection, limit: int) -> list[OutboxEntry]:
    """The oldest dead letters that are still to be sent."""
    return _entries(
        db,
        "SELECT id, error_id AS identity, body FROM dead_letters"
        " WHERE delivered_at IS NULL ORDER BY id LIMIT ?",
        (limit,),
    )


def acknowledge_dead_letters(db: sqlite3.Connection, ids: Sequence[int], now: float) -> None:
    """The API has these dead letters."""
    done = db.execute(
        "UPDATE dead_letters SET delivered_at = ?"
        " WHERE delivered_at IS NULL AND id IN (SELECT value FROM json_each(?))",
        (now, json.dumps(ids)),
    ).rowcount
    count(db, "dead_letters_delivered", done)


def oldest_pending(db: sqlite3.Connection) -> float | None:
    """When the oldest reading that still waits was committed, seconds since 1970; None where none waits."""
    found = db.execute(f"SELECT committed_at FROM readings WHERE {_PENDING} ORDER BY id LIMIT 1").fetchone()
    return float(found[0]) if found else None


def rejected(db: sqlite3.Connection, limit: int) -> list[RejectedReading]:
    """The readings that were refused last, newest first."""
    found = db.execute(
        "SELECT message_id, rejected_at, rejected_reason FROM readings"
        " WHERE rejected_at IS NOT NULL ORDER BY rejected_at DESC LIMIT ?",
        (limit,),
    ).fetchall()
    return [RejectedReading(*row) for row in found]


def purge(db: sqlite3.Connection, history_s: float, now: float) -> int:
    """Delete some of what was delivered before the history, or rejected a month ago. Returns how much."""
    return (
        _delete_oldest(db, "readings", "delivered_at", now - history_s, _PURGE_CHUNK)
        + _delete_oldest(db, "readings", "rejected_at", now - REJECTED_KEPT_S, _PURGE_CHUNK)
        + _delete_oldest(db, "dead_letters", "delivered_at", now - history_s, _PURGE_CHUNK)
    )


def forget_settled(db: sqlite3.Connection, most: int) -> int:
    """Delete the oldest of what was delivered or rejected, however young. Returns how much."""
    return (
        _delete_oldest(db, "readings", "delivered_at", inf, most)
        or _delete_oldest(db, "readings", "rejected_at", inf, most)
        or _delete_oldest(db, "dead_letters", "delivered_at", inf, most)
    )


def counts(db: sqlite3.Connection) -> OutboxCounts:
    """What the outbox has held."""
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


def _delete_oldest(db: sqlite3.Connection, table: str, column: str, before: float, most: int) -> int:
    """Delete the oldest rows that were settled before a moment; each such column has an index."""
    oldest = f"SELECT id FROM {table} WHERE {column} < ? ORDER BY {column} LIMIT ?"
    return db.execute(f"DELETE FROM {table} WHERE id IN ({oldest})", (before, most)).rowcount


def _entries(db: sqlite3.Connection, query: str, values: tuple[float, ...]) -> list[OutboxEntry]:
    """What a query finds, by row."""
    (found,) = db.execute(
        f"SELECT json_group_array(json_array(id, identity, body)) FROM ({query})", values
    ).fetchone()
    return [OutboxEntry(*row) for row in sorted(json.loads(found))]


def count(db: sqlite3.Connection, name: str, by: int) -> None:
    """Raise a counter."""
    if by:
        db.execute(
            "INSERT INTO counters (name, value) VALUES (?, ?)"
            " ON CONFLICT (name) DO UPDATE SET value = value + excluded.value",
            (name, by),
        )
