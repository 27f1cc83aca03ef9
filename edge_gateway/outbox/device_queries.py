"""What is remembered of each bracelet and each child; statements as in `store`."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from uuid import UUID

IN_DOUBT = 10
"""So many records behind an era may have been stamped before its clock was set: a few seconds' worth."""
_ACTIONS_KEPT = 100_000
_ERAS_KEPT = 8
"""Clock eras remembered for a bracelet: its flash outlives no more changes of its clock than that."""


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


def write_audit(db: sqlite3.Connection, who: str, action: str, detail: str, now: float) -> None:
    """Keep what somebody did on the page; the oldest beyond a year's worth go."""
    row = db.execute(
        "INSERT INTO audit (at, who, action, detail) VALUES (?, ?, ?, ?)", (now, who, action, detail)
    ).lastrowid
    db.execute("DELETE FROM audit WHERE id <= ?", ((row or 0) - _ACTIONS_KEPT,))
