"""The outbox's file: opened and checked, looked into, set aside where corrupt; which trouble may pass."""

from __future__ import annotations

import errno
import logging
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from edge_gateway.errors import OutboxUnavailable
from edge_gateway.outbox import schema

log = logging.getLogger(__name__)

_CHECKED_UP_TO = 64 * 2**20
"""Files up to this many bytes are checked page by page at start; larger ones when a page turns out bad."""
_CORRUPT = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
_PASSING = {
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_NOMEM,
}
_DISK_TROUBLE = {errno.ENOSPC, errno.EROFS, errno.EIO, errno.EDQUOT}


class OutboxFile:
    """Where an outbox is kept.

    Args:
        now: the clock, seconds since 1970.

    Attributes:
        set_aside: corrupt files that were put out of the way since the start.
    """

    def __init__(self, path: Path, now: Callable[[], float]) -> None:
        self.path, self._now = path, now
        self.set_aside: list[Path] = []

    def prepare(self) -> str:
        """Make directory and file; what trouble the disk has, empty where it has none.

        Raises:
            OutboxUnavailable: the directory cannot be made, or is not ours to write to; or the file is none
                that this version understands.
        """
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            if not _is_ours(self.path.parent):
                raise PermissionError(f"{self.path.parent} is not ours to write to; correct its owner")
            with closing(self.connect()):
                return ""
        except (OSError, sqlite3.Error) as error:
            if not passes(error):
                raise OutboxUnavailable(f"the outbox {self.path} cannot be opened: {error}") from error
            return str(error)

    def connect(self) -> sqlite3.Connection:
        """A connection to write with, to a file that is sound; a corrupt one is set aside first.

        Raises:
            OSError, sqlite3.Error: not now; `passes` tells whether later.
        """
        try:
            db = _connect(self.path)
        except sqlite3.DatabaseError as error:
            if not is_corrupt(error):
                raise
            self.put_aside(error)
            db = _connect(self.path)
        if self.set_aside:
            self._number_on(db)
        return db

    def put_aside(self, error: Exception) -> None:
        """Put a corrupt file out of the way, for a person to look at.

        Raises:
            OSError: the disk does not let us.
        """
        stamp = datetime.fromtimestamp(self._now(), UTC).strftime("%Y%m%dT%H%M%S.%fZ")
        aside = self.path.with_name(f"{self.path.name}.corrupt-{stamp}")
        for suffix in ("", "-wal", "-shm"):
            with suppress(FileNotFoundError):
                Path(f"{self.path}{suffix}").rename(f"{aside}{suffix}")
        self.set_aside.append(aside)
        log.error("outbox is corrupt (%s): set aside as %s, a fresh one takes its place", error, aside.name)

    def _number_on(self, db: sqlite3.Connection) -> None:
        """Rows of a fresh file come after all of the file before: who delivers knows how far those went."""
        db.execute(
            "INSERT INTO sqlite_sequence (name, seq) SELECT 'readings', ?"
            " WHERE NOT EXISTS (SELECT 1 FROM sqlite_sequence WHERE name = 'readings')",
            (round(self._now() * 1000),),
        )


@contextmanager
def reading(path: Path) -> Iterator[sqlite3.Connection]:
    """An outbox to look into, also while a gateway writes it; an empty one where there is no file.

    Raises:
        sqlite3.Error: the file cannot be read.
    """
    with closing(_connect_to_read(path)) as db:
        yield db


def is_corrupt(error: Exception) -> bool:
    """Whether the file itself is broken."""
    return _code(error) in _CORRUPT


def passes(error: Exception) -> bool:
    """Whether it is the disk's trouble, which may pass."""
    return _code(error) in _PASSING or (isinstance(error, OSError) and error.errno in _DISK_TROUBLE)


def _connect(path: Path) -> sqlite3.Connection:
    db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=10)
    try:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
        if path.stat().st_size <= _CHECKED_UP_TO:
            (verdict,) = db.execute("PRAGMA quick_check(1)").fetchone()
            if verdict != "ok":
                raise _corrupt(verdict)
        schema.prepare(db)
    except BaseException:
        db.close()
        raise
    return db


def _connect_to_read(path: Path) -> sqlite3.Connection:
    """A connection that writes nothing, not even beside the file; to an empty outbox where there is none.

    A file that was closed in good order on a disk that is read-only now can be read only as one that nobody
    changes: sharing it needs a second file.
    """
    if not path.exists():
        return nothing_kept()
    try:
        db = _connect_as(path, "mode=ro")
    except sqlite3.OperationalError:
        db = _connect_as(path, "immutable=1")
    if db.execute("SELECT 1 FROM sqlite_schema WHERE name = 'counters'").fetchone():
        return db
    db.close()
    return nothing_kept()


def _connect_as(path: Path, how: str) -> sqlite3.Connection:
    db = sqlite3.connect(f"{path.resolve().as_uri()}?{how}", uri=True, timeout=10)
    try:
        db.execute("SELECT 1 FROM sqlite_schema").fetchone()
    except sqlite3.Error:
        db.close()
        raise
    return db


def nothing_kept() -> sqlite3.Connection:
    """An empty outbox in memory."""
    db = sqlite3.connect(":memory:")
    schema.prepare(db)
    return db


def _is_ours(directory: Path) -> bool:
    """Whether we may write there, but for a disk that is read-only at the moment."""
    read_only = bool(os.statvfs(directory).f_flag & os.ST_RDONLY)
    return read_only or os.access(directory, os.W_OK | os.X_OK)


def _code(error: Exception) -> int:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


def _corrupt(verdict: str) -> sqlite3.DatabaseError:
    error = sqlite3.DatabaseError(verdict)
    error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
    return error
