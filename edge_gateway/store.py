"""The outbox's tables and the statements on them; runs inside a transaction somebody else opens.

A row of `readings` is pending until it is delivered or rejected. Counters outlive the purge of old rows.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from uuid import UUID

SCHEMA = """
CREATE TABLE IF NOT EXISTS readings (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    message_id TEXT UNIQUE NOT NULL,
    device_id TEXT NOT NULL,
    body TEXT NOT NULL,
    committed_at REAL NOT NULL,
    delivered_at REAL,
    rejected_at REAL,
    rejected_reason TEXT
);
CREATE INDEX IF NOT EXISTS pending_readings ON readings (id)
    WHERE delivered_at IS NULL AND rejected_at IS NULL;
CREATE TABLE IF NOT EXISTS dead_letters (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    error_id TEXT UNIQUE NOT NULL,
    body TEXT NOT NULL,
    delivered_at REAL
);
CREATE INDEX IF NOT EXISTS pending_dead_letters ON dead_letters (id) WHERE delivered_at IS NULL;
CREATE TABLE IF NOT EXISTS progress (
    device_id TEXT PRIMARY KEY,
    boot INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    message_id TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS clock_eras (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    device_id TEXT NOT NULL,
    boot INTEGER NOT NULL,
    before_seq INTEGER NOT NULL,
    offset_ms INTEGER NOT NULL,
    set_ms INTEGER NOT NULL,
    was_set INTEGER NOT NULL DEFAULT 1
);
CREATE INDEX IF NOT EXISTS clock_eras_of_device ON clock_eras (device_id, id);
CREATE TABLE IF NOT EXISTS known_devices (
    device_id TEXT PRIMARY KEY,
    address TEXT NOT NULL,
    known_since REAL NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS alarm_states (name TEXT PRIMARY KEY, state TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS counters (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
"""

REJECTED_KEPT_S = 30 * 24 * 3600.0
"""How long a reading the API refused stays, for a person to look at."""
_PURGE_CHUNK = 2000
IN_DOUBT = 10
"""So many records behind an era may have been stamped before its clock was set: a few seconds' worth."""
_ERAS_KEPT = 8
"""Clock eras remembered for a bracelet: its flash outlives no more changes of its clock than that."""


@dataclass(frozen=True, slots=True)
class NewReading:
    """A reading to be kept: its identity, its device and its JSON."""

    message_id: UUID
    device_id: str
    body: str


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
class Progress:
    """How far the records of one bracelet are committed.

    Attributes:
        boot: the bracelet's restart counter.
        seq: every record of this restart up to here is committed, or lost for good.
        message_id: identity of record `seq`; tells whether a bracelet still counts the same records.
    """

    boot: int
    seq: int
    message_id: UUID


@dataclass(frozen=True, slots=True)
class ClockEra:
    """The time before a bracelet's clock was set: what it stamped then can still be dated.

    Attributes:
        boot: the bracelet's restart counter.
        before_seq: records of this restart below this number were stamped by the clock as it was.
        offset_ms: how far that clock was behind the true time.
        set_ms: true time when it was set, milliseconds since 1970 UTC.
        was_set: whether that clock had been set before, wrongly; else it counted from the restart.
    """

    boot: int
    before_seq: int
    offset_ms: int
    set_ms: int
    was_set: bool = True


@dataclass(frozen=True, slots=True)
class Counts:
    """What an outbox has held since it was made.

    Attributes:
        committed: distinct readings made durable.
        pending: of those, neither delivered nor rejected yet.
        dead_letters: of all times, `dead_letters_pending` of them still to be sent.
    """

    committed: int = 0
    pending: int = 0
    delivered: int = 0
    rejected: int = 0
    dead_letters: int = 0
    dead_letters_pending: int = 0

    def to_json(self) -> dict[str, int]:
        """As an object of numbers."""
        return asdict(self)


def prepare(db: sqlite3.Connection) -> None:
    """Make what tables and columns are missing; an outbox of an earlier version is taken over as it is."""
    db.executescript(SCHEMA)
    if "was_set" not in {column[1] for column in db.execute("PRAGMA table_info(clock_eras)")}:
        db.execute("ALTER TABLE clock_eras ADD COLUMN was_set INTEGER NOT NULL DEFAULT 1")


def append(db: sqlite3.Connection, readings: Sequence[NewReading], now: float) -> int:
    """Keep readings; one whose identity is known is left out. Returns how many are new."""
    rows = [(str(new.message_id), new.device_id, new.body, now) for new in readings]
    added = db.executemany(
        "INSERT INTO readings (message_id, device_id, body, committed_at) VALUES (?, ?, ?, ?)"
        " ON CONFLICT (message_id) DO NOTHING",
        rows,
    ).rowcount
    count(db, "committed", added)
    return added


def peek(db: sqlite3.Connection, limit: int) -> list[Entry]:
    """The oldest pending readings, in the order they were committed."""
    found = db.execute(
        "SELECT id, message_id, body FROM readings WHERE delivered_at IS NULL AND rejected_at IS NULL"
        " ORDER BY id LIMIT ?",
        (limit,),
    )
    return [Entry(*row) for row in found]


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


def read_progress(db: sqlite3.Connection, device_id: str) -> Progress | None:
    """How far a bracelet's records are committed; None for one never heard."""
    found = db.execute(
        "SELECT boot, seq, message_id FROM progress WHERE device_id = ?", (device_id,)
    ).fetchone()
    return Progress(found[0], found[1], UUID(found[2])) if found else None


def write_progress(db: sqlite3.Connection, device_id: str, progress: Progress) -> None:
    """Remember how far a bracelet's records are committed; clock eras before that are done with."""
    db.execute(
        "INSERT OR REPLACE INTO progress (device_id, boot, seq, message_id) VALUES (?, ?, ?, ?)",
        (device_id, progress.boot, progress.seq, str(progress.message_id)),
    )
    db.execute(
        "DELETE FROM clock_eras WHERE device_id = ? AND before_seq + ? <= ?",
        (device_id, IN_DOUBT, progress.seq),
    )


def read_eras(db: sqlite3.Connection, device_id: str) -> tuple[ClockEra, ...]:
    """Times at which a bracelet's clock was set, oldest first."""
    found = db.execute(
        "SELECT boot, before_seq, offset_ms, set_ms, was_set FROM clock_eras WHERE device_id = ? ORDER BY id",
        (device_id,),
    )
    return tuple(
        ClockEra(boot, before_seq, offset_ms, set_ms, bool(was_set))
        for boot, before_seq, offset_ms, set_ms, was_set in found.fetchall()
    )


def write_era(db: sqlite3.Connection, device_id: str, era: ClockEra) -> None:
    """Remember that a bracelet's clock is being set.

    A clock that counts from the restart tells when that was: eras under the same restart number that began
    earlier belong to another life of the bracelet, or to another bracelet of that name.
    """
    if not era.was_set:
        db.execute(
            "DELETE FROM clock_eras WHERE device_id = ? AND boot = ? AND set_ms < ?",
            (device_id, era.boot, era.offset_ms),
        )
    db.execute(
        "INSERT INTO clock_eras (device_id, boot, before_seq, offset_ms, set_ms, was_set)"
        " VALUES (?, ?, ?, ?, ?, ?)",
        (device_id, era.boot, era.before_seq, era.offset_ms, era.set_ms, era.was_set),
    )
    db.execute(
        "DELETE FROM clock_eras WHERE device_id = :device AND id NOT IN"
        " (SELECT id FROM clock_eras WHERE device_id = :device ORDER BY id DESC LIMIT :kept)",
        {"device": device_id, "kept": _ERAS_KEPT},
    )


def read_addresses(db: sqlite3.Connection) -> dict[str, str]:
    """Bluetooth address of each bracelet that was connected once."""
    return dict(db.execute("SELECT device_id, address FROM known_devices").fetchall())


def write_address(db: sqlite3.Connection, device_id: str, address: str, now: float) -> None:
    """Know a bracelet by this Bluetooth address from now on."""
    db.execute(
        "INSERT OR REPLACE INTO known_devices (device_id, address, known_since) VALUES (?, ?, ?)",
        (device_id, address, now),
    )


def delete_address(db: sqlite3.Connection, device_id: str) -> bool:
    """Know a bracelet no longer. Returns whether it was known."""
    return bool(db.execute("DELETE FROM known_devices WHERE device_id = ?", (device_id,)).rowcount)


def read_alarm_states(db: sqlite3.Connection) -> dict[str, str]:
    """What was kept of alarms, by name."""
    return dict(db.execute("SELECT name, state FROM alarm_states").fetchall())


def write_alarm_state(db: sqlite3.Connection, name: str, state: str) -> None:
    """Keep the state of a child's alarms, or of the gateway's conditions."""
    db.execute("INSERT OR REPLACE INTO alarm_states (name, state) VALUES (?, ?)", (name, state))


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
    committed, delivered, rejected, letters, letters_sent = (
        values.get(name, 0)
        for name in ("committed", "delivered", "rejected", "dead_letters", "dead_letters_delivered")
    )
    pending = committed - delivered - rejected
    return Counts(committed, pending, delivered, rejected, letters, letters - letters_sent)


def count(db: sqlite3.Connection, name: str, by: int) -> None:
    """Raise a counter."""
    if by:
        db.execute(
            "INSERT INTO counters (name, value) VALUES (?, ?)"
            " ON CONFLICT (name) DO UPDATE SET value = value + excluded.value",
            (name, by),
        )
