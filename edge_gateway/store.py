"""The outbox's tables and the statements on them; runs inside a transaction somebody else opens.

A row of `readings` is pending until it is delivered or rejected. Counters outlive the purge of old rows.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import asdict, dataclass
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
class Entry:
    """Something pending: its row and its JSON.

    Attributes:
        identity: `message_id` of a reading, `error_id` of a dead letter.
    """

    id: int
    identity: str
    body: str


@dataclass(frozen=True, slots=True)
class Counts:
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
    rows = [(str(new.message_id), new.device_id, new.body, new.critical, now) for new in readings]
    added = db.executemany(
        "INSERT INTO readings (message_id, device_id, body, critical, committed_at) VALUES (?, ?, ?, ?, ?)"
        " ON CONFLICT (message_id) DO NOTHING",
        rows,
    ).rowcount
    count(db, "committed", added)
    return added


def newest(db: sqlite3.Connection) -> int:
    """The newest row; 0 where there is none."""
    (row,) = db.execute("SELECT coalesce(max(id), 0) FROM readings").fetchone()
    return int(row)


def peek_live(db: sqlite3.Connection, after: int, limit: int) -> list[Entry]:
    """The newest pending readings behind a row, in the order they were committed."""
    found = db.execute(
        f"SELECT id, message_id, body FROM readings WHERE {_PENDING} AND id > ? ORDER BY id DESC LIMIT ?",
        (after, limit),
    ).fetchall()
    return [Entry(*row) for row in reversed(found)]


def peek_backlog(db: sqlite3.Connection, up_to: int, limit: int) -> list[Entry]:
    """The oldest pending readings up to a row: critical ones where there are any, else the others."""
    for critical in ("AND critical = 1", ""):
        found = db.execute(
            f"SELECT id, message_id, body FROM readings WHERE {_PENDING} {critical} AND id <= ?"
            " ORDER BY id LIMIT ?",
            (up_to, limit),
        ).fetchall()
        if found:
            return [Entry(*row) for row in found]
    return []


def acknowledge(db: sqlite3.Connection, ids: Sequence[int], now: float) -> None:
    """The API has these readings."""
    done = db.executemany(
        "UPDATE readings SET delivered_at = ? WHERE id = ? AND delivered_at IS NULL AND rejected_at IS NULL",
        [(now, row) for row in ids],
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


def bury(db: sqlite3.Connection, error_id: UUID, body: str) -> None:
    """Keep a dead letter; one whose identity is known is left out."""
    added = db.execute(
        "INSERT INTO dead_letters (error_id, body) VALUES (?, ?) ON CONFLICT (error_id) DO NOTHING",
        (str(error_id), body),
    ).rowcount
    count(db, "dead_letters", added)


def peek_dead_letters(db: sqlite3.Connection, limit: int) -> list[Entry]:
    """The oldest dead letters that are still to be sent."""
    found = db.execute(
        "SELECT id, error_id, body FROM dead_letters WHERE delivered_at IS NULL ORDER BY id LIMIT ?", (limit,)
    )
    return [Entry(*row) for row in found]


def acknowledge_dead_letters(db: sqlite3.Connection, ids: Sequence[int], now: float) -> None:
    """The API has these dead letters."""
    done = db.executemany(
        "UPDATE dead_letters SET delivered_at = ? WHERE id = ? AND delivered_at IS NULL",
        [(now, row) for row in ids],
    ).rowcount
    count(db, "dead_letters_delivered", done)


def purge(db: sqlite3.Connection, history_s: float, now: float) -> int:
    """Delete some of what was delivered before the history, or rejected a month ago. Returns how much."""
    cutoffs = {"delivered": now - history_s, "rejected": now - REJECTED_KEPT_S, "most": _PURGE_CHUNK}
    gone = db.execute(
        "DELETE FROM readings WHERE id IN (SELECT id FROM readings"
        " WHERE delivered_at < :delivered OR rejected_at < :rejected ORDER BY id LIMIT :most)",
        cutoffs,
    ).rowcount
    gone += db.execute(
        "DELETE FROM dead_letters WHERE id IN (SELECT id FROM dead_letters"
        " WHERE delivered_at < :delivered ORDER BY id LIMIT :most)",
        cutoffs,
    ).rowcount
    return gone


def counts(db: sqlite3.Connection) -> Counts:
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
    return Counts(
        committed, pending, delivered, rejected, thinned, letters, letters - sent - dropped, dropped
    )


def count(db: sqlite3.Connection, name: str, by: int) -> None:
    """Raise a counter."""
    if by:
        db.execute(
            "INSERT INTO counters (name, value) VALUES (?, ?)"
            " ON CONFLICT (name) DO UPDATE SET value = value + excluded.value",
            (name, by),
        )
