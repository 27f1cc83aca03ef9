"""The API's own durable store for records Kafka cannot take now.

One SQLite file in WAL mode with synchronous=FULL, written by one thread that groups commits. What `append`
returned for survives kill -9 and a power cut. The file never exceeds its limit: a full spool refuses. A file
found corrupt is set aside, never deleted.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import queue
import sqlite3
import threading
import time
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Future
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from cloud_ingest.errors import SpoolUnavailable
from cloud_ingest.kafka.record import Lane, Record
from runtime.file_lock import locked

log = logging.getLogger(__name__)

_PAGE = 4096
_GROUP = 256
_LOOK = 10_000
"""Rows looked at in one go: whoever appends meanwhile waits for it."""
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

Job = Callable[[sqlite3.Connection], Any]


class Spooled(NamedTuple):
    """A record in the spool."""

    id: int
    record: Record


@dataclass(frozen=True, slots=True)
class SpoolState:
    """What the spool holds.

    Attributes:
        pending: records waiting for Kafka.
        refused: records Kafka will never take (too large), kept for a person to look at.
        size: bytes in use.
        set_aside: corrupt files kept beside it, whose records nobody has looked at.
        error: why the last write failed; empty while all is well.
    """

    pending: int = 0
    refused: int = 0
    size: int = 0
    set_aside: int = 0
    error: str = ""


class Spool:
    """Records on disk, oldest first.

    Attributes:
        opening: records that had to be here at the start by the file's own books: what ever went in less what
            ever came out. More than are here were taken away behind our back.

    Args:
        directory: made where it is missing; one process at a time.
        max_bytes: limit of the file.

    Raises:
        SpoolUnavailable: another process holds it, or the directory cannot be written.
    """

    def __init__(self, directory: Path, max_bytes: int) -> None:
        self.path = directory / "spool.sqlite3"
        self._max_bytes = max_bytes
        self._jobs: queue.SimpleQueue[tuple[Job, Future[Any]] | None] = queue.SimpleQueue()
        self._lock = _lock(directory)
        try:
            self._connection = self._open()
            self.opening = _balance_books(self._connection)
            self._state = self._measure()
        except sqlite3.Error as error:
            self._lock.close()
            raise SpoolUnavailable(f"{self.path}: {error}") from None
        self._thread = threading.Thread(target=self._work, name="spool", daemon=True)
        self._thread.start()

    @property
    def state(self) -> SpoolState:
        """What it holds, as of the last commit; never waits."""
        return self._state

    async def append(self, records: Sequence[Record]) -> list[int]:
        """Make records durable.

        Returns:
            their ids, in order.

        Raises:
            SpoolUnavailable: full, or the disk refuses.
        """
        now = time.time()

        def insert(connection: sqlite3.Connection) -> list[int]:
            sql = "INSERT INTO records (topic, key, value, at) VALUES (?, ?, ?, ?)"
            rows = ((r.topic, r.key, r.value, now) for r in records)
            ids = [int(connection.execute(sql, row).lastrowid or 0) for row in rows]
            self._count(len(ids))
            return ids

        ids: list[int] = await self._run(insert)
        return ids

    async def peek(
        self, limit: int, skip: Collection[int] = (), held: Collection[Lane] = (), after: int = 0
    ) -> list[Spooled]:
        """The oldest records: at most `limit`, of no more than `PEEK_BYTES` where they are several.

        Args:
            skip: ids left out.
            held: lanes left out.
            after: the id to go on from.
        """
        skip, held = set(skip), set(held)

        def look(connection: sqlite3.Connection) -> tuple[list[Spooled], int | None]:
            sql = "SELECT id, topic, key, length(value) FROM records WHERE id > ? ORDER BY id LIMIT ?"
            ids: list[int] = []
            size, last = 0, None
            for last, topic, key, length in connection.execute(sql, (after, _LOOK)):
                if last in skip or (topic, key) in held:
                    continue
                size += length
                if len(ids) == limit or (ids and size > PEEK_BYTES):
                    break
                ids.append(last)
            sql = "SELECT topic, key, value FROM records WHERE id = ?"
            found = [Spooled(row, Record(*connection.execute(sql, (row,)).fetchone())) for row in ids]
            return found, last

        found: list[Spooled] = []
        last: int | None = after
        while not found and last is not None:
            after = last
            found, last = await self._run(look)
        return found

    async def discard(self, ids: Collection[int]) -> None:
        """Forget records that Kafka has acknowledged."""
        rows = [(each,) for each in ids]

        def delete(connection: sqlite3.Connection) -> None:
            gone = connection.executemany("DELETE FROM records WHERE id = ?", rows).rowcount
            self._remove(connection, gone)

        await self._run(delete)

    async def refuse(self, row: int, reason: str) -> None:
        """Set aside a record that Kafka will never take."""

        def move(connection: sqlite3.Connection) -> None:
            connection.execute("INSERT INTO refused SELECT *, ? FROM records WHERE id = ?", (reason, row))
            moved = connection.execute("DELETE FROM records WHERE id = ?", (row,)).rowcount
            self._remove(connection, moved, refused=moved)

        await self._run(move)

    async def audit(self) -> None:
        """Count what is really there, whatever the books say."""

        def recount(_: sqlite3.Connection) -> None:
            self._state = self._measure()

        await self._run(recount)

    def close(self) -> None:
        """Finish what was asked for and let go of the file."""
        self._jobs.put(None)
        self._thread.join()
        self._connection.close()
        self._lock.close()

    async def _run(self, job: Job) -> Any:
        future: Future[Any] = Future()
        self._jobs.put((job, future))
        return await asyncio.wrap_future(future)

    def _work(self) -> None:
        while (first := self._jobs.get()) is not None:
            group, last = [first], False
            while len(group) < _GROUP and not last and not self._jobs.empty():
                item = self._jobs.get()
                last = item is None
                if item is not None:
                    group.append(item)
            self._commit([item for item in group if item[1].set_running_or_notify_cancel()])
            if last:
                return

    def _commit(self, group: list[tuple[Job, Future[Any]]]) -> None:
        """Run jobs in one transaction; where that fails each on its own: one cannot sink the others."""
        try:
            results = self._transaction([job for job, _ in group])
        except Exception as error:  # noqa: BLE001 - the thread's outer edge: whoever waits is told
            if len(group) > 1:
                for item in group:
                    self._commit([item])
                return
            log.error("spool: %s", error)
            self._state = replace(self._state, error=str(error))
            group[0][1].set_exception(SpoolUnavailable(f"spool: {error}"))
            return
        for (_, future), result in zip(group, results, strict=True):
            future.set_result(result)

    def _transaction(self, jobs: list[Job]) -> list[Any]:
        connection, before = self._connection, self._state
        connection.execute("BEGIN IMMEDIATE")
        try:
            results = [job(connection) for job in jobs]
            connection.execute("COMMIT")
        except BaseException:
            self._state = before
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
        self._state = replace(self._state, size=self._size(), error="")
        return results

    def _count(self, pending: int, refused: int = 0) -> None:
        """Change the counts by what a job of the running transaction did."""
        state = self._state
        self._state = replace(state, pending=state.pending + pending, refused=state.refused + refused)

    def _remove(self, connection: sqlite3.Connection, count: int, refused: int = 0) -> None:
        connection.execute("UPDATE removed SET count = count + ?", (count,))
        self._count(-count, refused)

    def _measure(self) -> SpoolState:
        (pending,) = self._connection.execute("SELECT count(*) FROM records").fetchone()
        (refused,) = self._connection.execute("SELECT count(*) FROM refused").fetchone()
        set_aside = sum(1 for _ in self.path.parent.glob(f"{self.path.name}.corrupt-*[0-9]"))
        return SpoolState(pending, refused, self._size(), set_aside)

    def _size(self) -> int:
        (pages,) = self._connection.execute("PRAGMA page_count").fetchone()
        (free,) = self._connection.execute("PRAGMA freelist_count").fetchone()
        return int(pages - free) * _PAGE

    def _open(self) -> sqlite3.Connection:
        try:
            return self._connect()
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError):
                raise
            aside = self.path.with_name(f"{self.path.name}.corrupt-{int(time.time())}")
            log.error("spool %s is corrupt (%s): set aside as %s", self.path, error, aside.name)
            for suffix in ("", "-wal", "-shm"):
                with contextlib.suppress(FileNotFoundError):
                    Path(f"{self.path}{suffix}").rename(f"{aside}{suffix}")
            return self._connect()

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self.path, check_same_thread=False, isolation_level=None)
        try:
            connection.execute(f"PRAGMA page_size={_PAGE}")
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=FULL")
            connection.execute("PRAGMA journal_size_limit=16777216")
            connection.execute(f"PRAGMA max_page_count={max(16, self._max_bytes // _PAGE)}")
            (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
            if verdict != "ok":
                raise sqlite3.DatabaseError(verdict)
            connection.executescript(_SCHEMA)
        except BaseException:
            connection.close()
            raise
        return connection


def _balance_books(connection: sqlite3.Connection) -> int:
    """Records that have to be in the file; then close the books on any that are missing."""
    sequence = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'records'").fetchone()
    appended = int(sequence[0]) if sequence else 0
    (there,) = connection.execute("SELECT count(*) FROM records").fetchone()
    books = connection.execute("SELECT count FROM removed").fetchone()
    if books is None:
        connection.execute("INSERT INTO removed VALUES (?)", (appended - there,))
        return int(there)
    if missing := appended - books[0] - there:
        log.error("spool: %d records are missing from the file", missing)
        connection.execute("UPDATE removed SET count = ?", (appended - there,))
    return int(appended - books[0])


def _lock(directory: Path) -> ExitStack:
    """Make the directory and lock it until the returned stack is closed."""
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
