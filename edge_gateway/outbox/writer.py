"""The thread that writes the outbox: callers share transactions, and a failing disk is tried again."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, TypeVar

from edge_gateway.errors import OutboxUnavailable
from edge_gateway.outbox import reading_queries
from edge_gateway.outbox.file import OutboxFile
from edge_gateway.outbox.reading_queries import NewReading
from runtime.group_commit import GroupCommit

T = TypeVar("T")
Statement = Callable[[sqlite3.Connection], T]

LARGE_BATCH = 200
"""Number of readings in one call from which on they are committed without waiting for more."""
_MAX_GROUP = 1000
_GATHER_S = 0.2
_RETRY_S = 1.0


@dataclass(frozen=True, slots=True)
class _Work:
    """Readings to append, or a statement to run after all readings of its group are appended."""

    readings: Sequence[NewReading] = ()
    statement: Statement[Any] = lambda _: None


class Writer:
    """Makes readings and statements durable in the order they are submitted.

    While the disk is full or failing, work waits and is tried again. A file that turns corrupt is set aside,
    and the work goes into an empty one.

    Args:
        now: seconds since 1970.
        on_trouble: called in the writing thread with the disk's problem, with "" once it is over.
    """

    def __init__(self, file: OutboxFile, now: Callable[[], float], on_trouble: Callable[[str], None]) -> None:
        self._file, self._now = file, now
        self._commits: GroupCommit[_Work] = GroupCommit(
            "outbox",
            file,
            self._execute,
            OutboxUnavailable,
            max_group=_MAX_GROUP,
            gather_s=_GATHER_S,
            retry_s=_RETRY_S,
            on_trouble=on_trouble,
        )

    @property
    def trouble(self) -> str:
        """Why the file cannot be written at the moment; empty while it can."""
        return self._commits.trouble

    def start(self) -> None:
        """Open the file and start writing.

        Raises:
            OutboxUnavailable: see `OutboxFile.open`.
        """
        db, trouble = None, ""
        try:
            db = self._file.open()
        except (OSError, sqlite3.Error) as error:
            trouble = str(error)
        self._commits.start(db, trouble)

    def close(self) -> None:
        """Commit what was submitted, then stop; work that the disk does not take fails."""
        self._commits.close()

    def append(self, readings: Sequence[NewReading]) -> Future[None]:
        """Append readings."""
        return self._commits.submit(_Work(readings), hurry=len(readings) >= LARGE_BATCH)

    def submit(self, statement: Statement[T], *, hurry: bool) -> Future[T]:
        """Run a statement inside a transaction; `hurry` where a caller waits for its result."""
        return self._commits.submit(_Work(statement=statement), hurry=hurry)

    def _execute(self, db: sqlite3.Connection, group: Sequence[_Work]) -> list[Any]:
        if readings := [new for work in group for new in work.readings]:
            reading_queries.append(db, readings, self._now())
        return [work.statement(db) for work in group]
