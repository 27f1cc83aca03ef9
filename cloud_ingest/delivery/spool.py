"""The API's own durable store for records that Kafka cannot take now.

One SQLite file, written by one thread that groups commits. Records that `append` has returned for survive
kill -9 and a power cut. The file never exceeds its limit: a full spool refuses records. A file found corrupt
at the start is set aside, never deleted. One that turns corrupt later refuses records until the next start:
ids that callers still hold would be used again in an empty file.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from cloud_ingest.errors import SpoolUnavailable
from cloud_ingest.kafka.record import Lane, Record
from runtime.file_lock import locked
from runtime.group_commit import GroupCommit
from runtime.sqlite_file import SqliteFile, set_aside_files, used_bytes

log = logging.getLogger(__name__)

T = TypeVar("T")

_PAGE_BYTES = 4096
_MIN_PAGES = 16
_MAX_GROUP = 256
_SCAN_ROWS = 10_000
"""Rows read in one transaction; an append has to wait for it."""
PEEK_BYTES = 8 * 2**20
_SCHEMA = """
CREATE TABLE IF NOT EXISTS records (
    id INTEGER PRIMARY KEY AUTOINCREMENT, topic TEXT NOT NULL, key BLOB, value BLOB NOT NULL, at REAL NOT NULL
);
CREATE TABLE IF NOT EXISTS refused (
    id INTEGER PRIMARY KEY, topic TEXT NOT NULL, key BLOB, value BLOB NOT NULL, at REAL NOT NULL,
    reason TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS removed (count INTEGER NOT NULL);
"""

_Statement = Callable[[sqlite3.Connection], Any]


class SpooledRecord(NamedTuple):
    """A record in the spool."""

    id: int
    record: Record


@dataclass(frozen=True, slots=True)
class SpoolState:
    """What the spool holds.

    Attributes:
        pending: records waiting for Kafka.
        refused: records that Kafka will never take (too large), kept for inspection.
        size: bytes in use.
        set_aside: corrupt files kept beside it, whose records are not counted here.
        error: why the spool cannot be written at the moment; empty while it can.
    """

    pending: int = 0
    refused: int = 0
    size: int = 0
    set_aside: int = 0
    error: str = ""


class Spool:
    """Records on disk, oldest first.

    Attributes:
        opening: records expected at the start by the file's own counters: all ever appended less all ever
            removed. If fewer are there, records were lost from the file.

    Args:
        directory: created where it is missing; locked, so that only one process uses it.
        max_bytes: limit of the file.

    Raises:
        SpoolUnavailable: another process uses it, or the directory cannot be written.
    """

    def __init__(self, directory: Path, max_bytes: int) -> None:
        self.path = directory / "spool.sqlite3"
        self._lock = _lock(directory)
        pages = max(_MIN_PAGES, max_bytes // _PAGE_BYTES)
        settings = (f"page_size={_PAGE_BYTES}", f"max_page_count={pages}", "journal_size_limit=16777216")
        file = SqliteFile(self.path, _create_tables, settings=settings)
        try:
            db = file.connect()
            self.opening = _reconcile_counters(db)
            self._state = self._uncommitted = self._measure(db)
        except (OSError, sqlite3.Error) as error:
            self._lock.close()
            raise SpoolUnavailable(f"{self.path}: {error}") from None
        self._commits: GroupCommit[_Statement] = GroupCommit(
            "spool",
            file,
            self._execute,
            SpoolUnavailable,
            max_group=_MAX_GROUP,
            on_commit=self._publish_state,
            on_trouble=self._publish_trouble,
        )
        self._commits.start(db)

    @property
    def state(self) -> SpoolState:
        """What the spool holds as of the last commit; never waits."""
        return self._state

    async def append(self, records: Sequence[Record]) -> list[int]:
        """Make records durable.

        Returns:
            their ids, in the same order.

        Raises:
            SpoolUnavailable: the spool is full or closed, or the disk fails.
        """
        now = time.time()

        def insert(db: sqlite3.Connection) -> list[int]:
            sql = "INSERT INTO records (topic, key, value, at) VALUES (?, ?, ?, ?)"
            rows = ((r.topic, r.key, r.value, now) for r in records)
            ids = [int(db.execute(sql, row).lastrowid or 0) for row in rows]
            self._count(len(ids))
            return ids

        return await self._run(insert)

    async def peek(
        self, limit: int, skip: Collection[int] = (), held: Collection[Lane] = (), after: int = 0
    ) -> list[SpooledRecord]:
        """Return the oldest records: at most `limit`, of no more than `PEEK_BYTES` where they are several.

        Args:
            skip: ids left out.
            held: lanes left out.
            after: id after which to start.
        """
        skip, held = set(skip), set(held)

        def scan(db: sqlite3.Connection) -> tuple[list[SpooledRecord], int | None]:
            sql = "SELECT id, topic, key, length(value) FROM records WHERE id > ? ORDER BY id LIMIT ?"
            ids: list[int] = []
            size, last = 0, None
            for last, topic, key, length in db.execute(sql, (after, _SCAN_ROWS)):
                if last in skip or (topic, key) in held:
                    continue
                size += length
                if len(ids) == limit or (ids and size > PEEK_BYTES):
                    break
                ids.append(last)
            sql = "SELECT topic, key, value FROM records WHERE id = ?"
            found = [SpooledRecord(row, Record(*db.execute(sql, (row,)).fetchone())) for row in ids]
            return found, last

        found: list[SpooledRecord] = []
        last: int | None = after
        while not found and last is not None:
            after = last
            found, last = await self._run(scan)
        return found

    async def discard(self, ids: Collection[int]) -> None:
        """Delete records that Kafka has acknowledged."""
        rows = [(each,) for each in ids]

        def delete(db: sqlite3.Connection) -> None:
            deleted = db.executemany("DELETE FROM records WHERE id = ?", rows).rowcount
            self._remove(db, deleted)

        await self._run(delete)

    async def refuse(self, row: int, reason: str) -> None:
        """Move a record that Kafka will never take to the refused ones."""

        def move(db: sqlite3.Connection) -> None:
            db.execute("INSERT INTO refused SELECT *, ? FROM records WHERE id = ?", (reason, row))
            moved = db.execute("DELETE FROM records WHERE id = ?", (row,)).rowcount
            self._remove(db, moved, refused=moved)

        await self._run(move)

    async def audit(self) -> None:
        """Count the records again, so that `state` shows what is really there."""

        def recount(db: sqlite3.Connection) -> None:
            self._uncommitted = self._measure(db)

        await self._run(recount)

    def close(self) -> None:
        """Commit what was submitted and release the file."""
        self._commits.close()
        self._lock.close()

    async def _run(self, statement: Callable[[sqlite3.Connection], T]) -> T:
        try:
            result: T = await asyncio.wrap_future(self._commits.submit(statement))
        except sqlite3.Error as error:
            raise SpoolUnavailable(f"spool: {error}") from None
        return result

    def _execute(self, db: sqlite3.Connection, group: Sequence[_Statement]) -> list[Any]:
        self._uncommitted = self._state
        results = [statement(db) for statement in group]
        self._uncommitted = replace(self._uncommitted, size=used_bytes(db))
        return results

    def _publish_state(self) -> None:
        self._state = self._uncommitted

    def _publish_trouble(self, trouble: str) -> None:
        self._state = replace(self._state, error=trouble)

    def _count(self, pending: int, refused: int = 0) -> None:
        """Add what a statement of the running transaction changed to the counts."""
        state = self._uncommitted
        self._uncommitted = replace(state, pending=state.pending + pending, refused=state.refused + refused)

    def _remove(self, db: sqlite3.Connection, count: int, refused: int = 0) -> None:
        db.execute("UPDATE removed SET count = count + ?", (count,))
        self._count(-count, refused)

    def _measure(self, db: sqlite3.Connection) -> SpoolState:
        (pending,) = db.execute("SELECT count(*) FROM records").fetchone()
        (refused,) = db.execute("SELECT count(*) FROM refused").fetchone()
        return SpoolState(pending, refused, used_bytes(db), len(set_aside_files(self.path)))


def _create_tables(db: sqlite3.Connection) -> None:
    db.executescript(_SCHEMA)


def _reconcile_counters(db: sqlite3.Connection) -> int:
    """Return how many records the counters expect; then correct the counters by those that are missing."""
    sequence = db.execute("SELECT seq FROM sqlite_sequence WHERE name = 'records'").fetchone()
    appended = int(sequence[0]) if sequence else 0
    (present,) = db.execute("SELECT count(*) FROM records").fetchone()
    removed = db.execute("SELECT count FROM removed").fetchone()
    if removed is None:
        db.execute("INSERT INTO removed VALUES (?)", (appended - present,))
        return int(present)
    expected = int(appended - removed[0])
    if missing := expected - present:
        log.error("spool: %d records are missing from the file", missing)
        db.execute("UPDATE removed SET count = ?", (appended - present,))
    return expected


def _lock(directory: Path) -> ExitStack:
    """Create the directory and lock it until the returned stack is closed."""
    held = ExitStack()
    try:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = directory / "lock"
        lock.touch(0o600)
        held.enter_context(locked(lock))
    except BlockingIOError:
        raise SpoolUnavailable(f"SPOOL_PATH {directory}: another process uses this spool") from None
    except OSError as error:
        raise SpoolUnavailable(f"SPOOL_PATH {directory}: {error.strerror}") from None
    return held
