"""SQLite files whose commits survive a power cut; a corrupt file is renamed and replaced by an empty one."""

from __future__ import annotations

import errno
import logging
import sqlite3
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

log = logging.getLogger(__name__)

_BUSY_TIMEOUT_S = 10.0
_CORRUPT = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
_TEMPORARY = {
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_NOMEM,
}
_TEMPORARY_ERRNO = {errno.ENOSPC, errno.EROFS, errno.EIO, errno.EDQUOT}


class SqliteFile:
    """A database file in WAL mode with `synchronous=FULL`: a commit is on disk when it returns.

    Args:
        prepare: creates or migrates the tables of each new connection.
        settings: `name=value` of further pragmas.
        check_limit: files of at most this many bytes are checked page by page when they are opened; None for
            all files. Damage in a larger file shows when a bad page is read.
        now: seconds since 1970.

    Attributes:
        set_aside: the corrupt files renamed since the start, oldest first.
    """

    def __init__(
        self,
        path: Path,
        prepare: Callable[[sqlite3.Connection], None],
        *,
        settings: Sequence[str] = (),
        check_limit: int | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.path, self._prepare, self._now = path, prepare, now
        self._settings, self._check_limit = settings, check_limit
        self.set_aside: list[Path] = []

    def connect(self) -> sqlite3.Connection:
        """Return a connection without implicit transactions; a corrupt file is replaced first.

        Raises:
            OSError, sqlite3.Error: the file cannot be opened; if `is_temporary`, it may be tried again.
        """
        try:
            return self._connect()
        except sqlite3.DatabaseError as error:
            if not is_corrupt(error):
                raise
            self.replace(error)
            return self._connect()

    def replace(self, error: Exception) -> None:
        """Rename the corrupt file, with its WAL, so that the next `connect` creates an empty one.

        Args:
            error: how the damage was noticed, for the log.

        Raises:
            OSError: the disk does not allow it.
        """
        stamp = datetime.fromtimestamp(self._now(), UTC).strftime("%Y%m%dT%H%M%S.%fZ")
        aside = self.path.with_name(f"{self.path.name}.corrupt-{stamp}")
        for suffix in ("-wal", "-shm", ""):  # a WAL left behind would be replayed into the empty file
            with suppress(FileNotFoundError):
                Path(f"{self.path}{suffix}").rename(f"{aside}{suffix}")
        self.set_aside.append(aside)
        log.error("%s is corrupt (%s): renamed to %s, starting an empty file", self.path, error, aside.name)

    def _connect(self) -> sqlite3.Connection:
        db = sqlite3.connect(
            self.path, isolation_level=None, check_same_thread=False, timeout=_BUSY_TIMEOUT_S
        )
        try:
            for setting in (*self._settings, "journal_mode=WAL", "synchronous=FULL"):
                db.execute(f"PRAGMA {setting}")
            if self._check_limit is None or self.path.stat().st_size <= self._check_limit:
                _check(db)
            self._prepare(db)
        except BaseException:
            db.close()
            raise
        return db


def is_corrupt(error: Exception) -> bool:
    """Return whether an error means that the file itself is damaged."""
    return _code(error) in _CORRUPT


def is_temporary(error: Exception) -> bool:
    """Return whether an error is one of the disk's that may pass: full, read-only, failing or locked."""
    return _code(error) in _TEMPORARY or (isinstance(error, OSError) and error.errno in _TEMPORARY_ERRNO)


def set_aside_files(path: Path) -> list[Path]:
    """Return the corrupt files kept beside a database file, from earlier runs as well, oldest first."""
    found = path.parent.glob(f"{path.name}.corrupt-*")
    return sorted(each for each in found if not each.name.endswith(("-wal", "-shm")))


def used_bytes(db: sqlite3.Connection) -> int:
    """Return how many bytes of a database are in use: its pages less the free ones."""
    (size,), (pages,), (free,) = (
        db.execute(f"PRAGMA {name}").fetchone() for name in ("page_size", "page_count", "freelist_count")
    )
    return int(size) * (int(pages) - int(free))


def _check(db: sqlite3.Connection) -> None:
    (problem,) = db.execute("PRAGMA quick_check(1)").fetchone()
    if problem != "ok":
        error = sqlite3.DatabaseError(problem)
        error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
        raise error


def _code(error: Exception) -> int:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF
