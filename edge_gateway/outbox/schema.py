"""The tables of the outbox file, and the migration of a file of an earlier version."""

from __future__ import annotations

import sqlite3

_SCHEMA = """
CREATE TABLE IF NOT EXISTS readings (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    message_id TEXT UNIQUE NOT NULL,
    device_id TEXT NOT NULL,
    body TEXT NOT NULL,
    committed_at REAL NOT NULL,
    critical INTEGER NOT NULL DEFAULT 0,
    delivered_at REAL,
    rejected_at REAL,
    rejected_reason TEXT
);
CREATE INDEX IF NOT EXISTS pending_readings ON readings (id)
    WHERE delivered_at IS NULL AND rejected_at IS NULL;
CREATE INDEX IF NOT EXISTS pending_criticals ON readings (id)
    WHERE delivered_at IS NULL AND rejected_at IS NULL AND critical = 1;
CREATE INDEX IF NOT EXISTS delivered_readings ON readings (delivered_at) WHERE delivered_at IS NOT NULL;
CREATE INDEX IF NOT EXISTS rejected_readings ON readings (rejected_at) WHERE rejected_at IS NOT NULL;
CREATE TABLE IF NOT EXISTS gaps (
    device_id TEXT NOT NULL,
    hour TEXT NOT NULL,
    lost INTEGER NOT NULL,
    first TEXT NOT NULL,
    last TEXT NOT NULL,
    PRIMARY KEY (device_id, hour)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS dead_letters (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    error_id TEXT UNIQUE NOT NULL,
    body TEXT NOT NULL,
    delivered_at REAL
);
CREATE INDEX IF NOT EXISTS pending_dead_letters ON dead_letters (id) WHERE delivered_at IS NULL;
CREATE INDEX IF NOT EXISTS sent_dead_letters ON dead_letters (delivered_at) WHERE delivered_at IS NOT NULL;
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
CREATE TABLE IF NOT EXISTS audit (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    at REAL NOT NULL,
    who TEXT NOT NULL,
    action TEXT NOT NULL,
    detail TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS alarm_states (name TEXT PRIMARY KEY, state TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS counters (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
"""

_ADDED = {
    "clock_eras": "was_set INTEGER NOT NULL DEFAULT 1",
    "readings": "critical INTEGER NOT NULL DEFAULT 0",
}
"""Columns that earlier versions lack."""


def prepare(db: sqlite3.Connection) -> None:
    """Create missing tables and columns; existing data is kept."""
    for table, column in _ADDED.items():
        present = {found[1] for found in db.execute(f"PRAGMA table_info({table})")}
        if present and column.split()[0] not in present:
            db.execute(f"ALTER TABLE {table} ADD COLUMN {column}")
    db.executescript(_SCHEMA)
