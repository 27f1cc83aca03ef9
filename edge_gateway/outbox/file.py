"""The outbox's file: opened for writing by the gateway, and read beside it."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from edge_gateway.errors import OutboxUnavailable
from edge_gateway.outbox import schema
from runtime.sqlite_file import SqliteFile, is_temporary

_CHECK_LIMIT = 64 * 2**20


class OutboxFile(SqliteFile):
    """The database file of an outbox.

    Args:
        now: seconds since 1970.
    """

    def __init__(self, path: Path, now: Callable[[], float]) -> None:
        super().__init__(path, self._prepare_tables, check_limit=_CHECK_LIMIT, now=now)

    def open(self) -> sqlite3.Connection:
        """Make the directory and the file, and return a connection.

        Raises:
            OutboxUnavailable: the directory cannot be made or is owned by another user; or the file is not
                one that this version understands.
            OSError, sqlite3.Error: the disk has a problem that may pass.
        """
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            if not _may_write(self.path.parent):
                raise PermissionError(f"{self.path.parent} is not writable by this user; correct its owner")
            return self.connect()
        except (OSError, sqlite3.Error) as error:
            if is_temporary(error):
                raise
            raise OutboxUnavailable(f"the outbox {self.path} cannot be opened: {error}") from error

    def _prepare_tables(self, db: sqlite3.Connection) -> None:
        schema.prepare(db)
        if self.set_aside:
            self._continue_numbering(db)

    def _continue_numbering(self, db: sqlite3.Connection) -> None:
        """Number the rows of a new file above those of the one before: the uplink's boundary stays valid."""
        db.execute(
            "INSERT INTO sqlite_sequence (name, seq) SELECT 'readings', ?"
            " WHERE NOT EXISTS (SELECT 1 FROM sqlite_sequence WHERE name = 'readings')",
            (round(self._now() * 1000),),
        )


@contextmanager
def open_to_read(path: Path) -> Iterator[sqlite3.Connection]:
    """Open an outbox that a gateway may be writing; an empty one where there is no file.

    Raises:
        sqlite3.Error: the file cannot be read.
    """
    with closing(_connect_to_read(path)) as db:
        yield db


def empty_outbox() -> sqlite3.Connection:
    """Return an empty outbox in memory."""
    db = sqlite3.connect(":memory:")
    schema.prepare(db)
    return db


def _connect_to_read(path: Path) -> sqlite3.Connection:
    """Return a connection that writes nothing, not even beside the file.

    A WAL database can be shared only with a `-shm` file beside it. Where the disk is read-only and the file
    was closed cleanly, it is opened as immutable instead.
    """
    if not path.exists():
        return empty_outbox()
    try:
        db = _connect_with(path, "mode=ro")
    except sqlite3.OperationalError:
        db = _connect_with(path, "immutable=1")
    if db.execute("SELECT 1 FROM sqlite_schema WHERE name = 'counters'").fetchone():
        return db
    db.close()
    return empty_outbox()


def _connect_with(path: Path, option: str) -> sqlite3.Connection:
    db = sqlite3.connect(f"{path.resolve().as_uri()}?{option}", uri=True, timeout=10)
    try:
        db.execute("SELECT 1 FROM sqlite_schema").fetchone()
    except sqlite3.Error:
        db.close()
        raise
    return db


def _may_write(directory: Path) -> bool:
    """Return whether the directory's permissions allow writing; a disk that is read-only may recover."""
    read_only = bool(os.statvfs(directory).f_flag & os.ST_RDONLY)
    return read_only or os.access(directory, os.W_OK | os.X_OK)
