"""Statements on bracelets, alarm states and the audit log; as in `reading_queries`."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from uuid import UUID

IN_DOUBT = 10
"""Records after an era that may still carry its time: those of a few seconds."""
_AUDIT_ROWS_KEPT = 100_000
_ERAS_KEPT = 8
"""Clock eras stored for a bracelet; its flash holds no records from before more changes of the clock."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the records of one bracelet are committed.

    Attributes:
        boot: the bracelet's restart counter.
        seq: every record of this restart up to here is committed or lost for good.
        message_id: identity of record `seq`; shows whether the bracelet still counts the same records.
    """

    boot: int
    seq: int
    message_id: UUID


@dataclass(frozen=True, slots=True)
class ClockEra:
    """The time before a bracelet's clock was set. Records of an era can be dated from it.

    Attributes:
        boot: the bracelet's restart counter.
        before_seq: records of this restart below this number carry the time of the old clock.
        offset_ms: how far the old clock was behind the true time.
        set_ms: true time when it was set, milliseconds since 1970 UTC.
        was_set: whether the old clock had been set; if not, it counted from the restart.
    """

    boot: int
    before_seq: int
    offset_ms: int
    set_ms: int
    was_set: bool = True


def read_progress(db: sqlite3.Connection, device_id: str) -> Progress | None:
    """Return how far a bracelet's records are committed; None for an unknown bracelet."""
    found = db.execute(
        "SELECT boot, seq, message_id FROM progress WHERE device_id = ?", (device_id,)
    ).fetchone()
    return Progress(found[0], found[1], UUID(found[2])) if found else None


def write_progress(db: sqlite3.Connection, device_id: str, progress: Progress) -> None:
    """Store how far a bracelet's records are committed, and delete clock eras before that."""
    db.execute(
        "INSERT OR REPLACE INTO progress (device_id, boot, seq, message_id) VALUES (?, ?, ?, ?)",
        (device_id, progress.boot, progress.seq, str(progress.message_id)),
    )
    db.execute(
        "DELETE FROM clock_eras WHERE device_id = ? AND before_seq + ? <= ?",
        (device_id, IN_DOUBT, progress.seq),
    )


def read_eras(db: sqlite3.Connection, device_id: str) -> tuple[ClockEra, ...]:
    """Return the eras of a bracelet's clock, oldest first."""
    found = db.execute(
        "SELECT boot, before_seq, offset_ms, set_ms, was_set FROM clock_eras WHERE device_id = ? ORDER BY id",
        (device_id,),
    )
    return tuple(
        ClockEra(boot, before_seq, offset_ms, set_ms, bool(was_set))
        for boot, before_seq, offset_ms, set_ms, was_set in found.fetchall()
    )


def write_era(db: sqlite3.Connection, device_id: str, era: ClockEra) -> None:
    """Store that a bracelet's clock is being set.

    A clock that counts from the restart shows when that was. Eras with the same restart counter that ended
    before
    it are deleted: the counter has wrapped around, or they belong to another bracelet of that name.
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
    """Return the Bluetooth address of each bracelet that was connected before."""
    return dict(db.execute("SELECT device_id, address FROM known_devices").fetchall())


def write_address(db: sqlite3.Connection, device_id: str, address: str, now: float) -> None:
    """Store a bracelet's Bluetooth address."""
    db.execute(
        "INSERT OR REPLACE INTO known_devices (device_id, address, known_since) VALUES (?, ?, ?)",
        (device_id, address, now),
    )


def delete_address(db: sqlite3.Connection, device_id: str) -> bool:
    """Delete a bracelet's Bluetooth address. Return whether there was one."""
    return bool(db.execute("DELETE FROM known_devices WHERE device_id = ?", (device_id,)).rowcount)


def read_alarm_states(db: sqlite3.Connection) -> dict[str, str]:
    """Return the stored alarm states by name."""
    return dict(db.execute("SELECT name, state FROM alarm_states").fetchall())


def write_alarm_state(db: sqlite3.Connection, name: str, state: str) -> None:
    """Store the state of a child's alarms or of the gateway's conditions."""
    db.execute("INSERT OR REPLACE INTO alarm_states (name, state) VALUES (?, ?)", (name, state))


def write_audit(db: sqlite3.Connection, who: str, action: str, detail: str, now: float) -> None:
    """Store a person's action; the oldest rows beyond a year's worth are deleted."""
    row = db.execute(
        "INSERT INTO audit (at, who, action, detail) VALUES (?, ?, ?, ?)", (now, who, action, detail)
    ).lastrowid
    db.execute("DELETE FROM audit WHERE id <= ?", ((row or 0) - _AUDIT_ROWS_KEPT,))
