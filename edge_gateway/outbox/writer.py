"""The one thread that writes to the outbox: who waits shares commits, and a failing disk is waited for.

Work gathers for 0.2 s before a transaction, unless somebody is in a hurry or much is waiting, and while the
one before is flushed: a flush costs the same for one reading and for hundreds, in time and in wear of the
card.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any, Generic, TypeVar

from edge_gateway.errors import OutboxUnavailable
from edge_gateway.outbox import reading_queries
from edge_gateway.outbox.file import OutboxFile, is_corrupt, passes
from edge_gateway.outbox.reading_queries import NewReading

log = logging.getLogger(__name__)

T = TypeVar("T")
Statement = Callable[[sqlite3.Connection], T]

_MOST_IN_A_GROUP = 1000
_GATHER_S = 0.2
ENOUGH = 200
"""Readings worth a transaction of their own."""
_TRY_AGAIN_S = 1.0


class _Work(Generic[T]):
    """One caller's statement, or readings to append before all statements, and the future it waits on."""

    __slots__ = ("future", "readings", "statement")

    def __init__(self, statement: Statement[T], readings: Sequence[NewReading] = ()) -> None:
        self.statement: Statement[T] = statement
        self.readings = readings
        self.future: Future[T] = Future()


class Writer:
    """Makes work durable, in the order it comes.

    Args:
        now: the clock, seconds since 1970.
        on_trouble: told, in the writer's thread, what the disk's trouble is, "" once it is over.

    Attributes:
        trouble: why nothing can be made durable at the moment; empty when all is well.
    """

    def __init__(self, file: OutboxFile, now: Callable[[], float], on_trouble: Callable[[str], None]) -> None:
        self._file, self._now, self._on_trouble = file, now, on_trouble
        self.trouble = ""
        self._queue: SimpleQueue[_Work[Any] | None] = SimpleQueue()
        self._hurry, self._closing = threading.Event(), threading.Event()
        self._closed = False
        self._thread = threading.Thread(target=self._serve, name="outbox", daemon=True)

    def start(self, trouble: str) -> None:
        """Start writing.

        Args:
            trouble: what the disk has already; empty where it has none.
        """
        self._note(trouble)
        self._thread.start()

    def close(self) -> None:
        """Commit what was handed over, then stop; where the disk fails, give up and say so to who waits."""
        if not self._closed:
            self._closed = True
            self._closing.set()
            self._queue.put(None)
            self._hurry.set()
            self._thread.join()

    def append(self, readings: Sequence[NewReading]) -> Future[None]:
        """Append readings; all that wait go into the file as one."""
        return self._submit(_Work(_nothing, readings), hurry=len(readings) >= ENOUGH)

    def do(self, statement: Statement[T], *, hurry: bool) -> Future[T]:
        """Run a statement inside a transaction; `hurry` where somebody waits for its result."""
        return self._submit(_Work(statement), hurry=hurry)

    def _submit(self, work: _Work[T], *, hurry: bool) -> Future[T]:
        if self._closed:
            work.future.set_exception(OutboxUnavailable("the outbox is closed"))
        else:
            self._queue.put(work)
            if hurry or self._queue.qsize() >= ENOUGH:
                self._hurry.set()
        return work.future

    def _serve(self) -> None:
        db = self._connect_patiently()
        while group := self._next_group():
            db = self._commit_patiently(db, group)
        if db:
            db.close()

    def _next_group(self) -> list[_Work[Any]]:
        """What is waiting, at least one piece of work; empty at the end."""
        group: list[_Work[Any]] = []
        work = self._queue.get()
        if work is not None:
            if self._queue.qsize() < ENOUGH:
                self._hurry.wait(_GATHER_S)
            self._hurry.clear()
        while work is not None:
            if work.future.set_running_or_notify_cancel():
                group.append(work)
            if len(group) >= _MOST_IN_A_GROUP:
                break
            try:
                work = self._queue.get_nowait() if group else self._queue.get()
            except Empty:
                break
        if work is None and group:
            self._queue.put(None)  # the end comes after this group
        return group

    def _commit_patiently(
        self, db: sqlite3.Connection | None, group: list[_Work[Any]]
    ) -> sqlite3.Connection | None:
        """Commit a group, however long the disk takes to recover; gives up only when closing."""
        while True:
            try:
                db = db or self._file.connect()
                results = _transact(db, group, self._now())
            except (OSError, sqlite3.Error) as error:
                _roll_back(db)
                trouble = str(error)
                if is_corrupt(error):
                    trouble = self._close_and_set_aside(db, error)
                    db = None
                elif not passes(error):
                    self._fail_one_by_one(db, group, error)
                    return db
                if trouble and not self._wait(trouble):
                    _fail(group, OutboxUnavailable(f"closed while the disk had trouble: {trouble}"))
                    return db
            except Exception as error:  # noqa: BLE001 - a caller's statement failed: the caller is told
                _roll_back(db)
                self._fail_one_by_one(db, group, error)
                return db
            else:
                self._note("")
                for work, result in zip(group, results, strict=True):
                    work.future.set_result(result)
                return db

    def _fail_one_by_one(
        self, db: sqlite3.Connection | None, group: list[_Work[Any]], error: Exception
    ) -> None:
        """One statement of a group failed: let the others through, and tell only its caller."""
        for work in group:
            if db is None or len(group) == 1:
                work.future.set_exception(error)
                continue
            try:
                work.future.set_result(_transact(db, [work], self._now())[0])
            except Exception as own:  # noqa: BLE001 - told to the caller, whose statement it was
                _roll_back(db)
                work.future.set_exception(own)

    def _connect_patiently(self) -> sqlite3.Connection | None:
        try:
            return self._file.connect()
        except (OSError, sqlite3.Error):
            return None  # tried again with the first group

    def _wait(self, trouble: str) -> bool:
        """Wait before trying again; False when closing."""
        self._note(trouble)
        return not self._closing.wait(_TRY_AGAIN_S)

    def _note(self, trouble: str) -> None:
        if trouble != self.trouble:
            self.trouble = trouble
            log.error("outbox cannot write: %s", trouble) if trouble else log.warning("outbox writes again")
            self._on_trouble(trouble)

    def _close_and_set_aside(self, db: sqlite3.Connection | None, error: Exception) -> str:
        """Put a corrupt file out of the way; why that cannot be done, empty where it was."""
        if db:
            with suppress(sqlite3.Error):
                db.close()
        try:
            self._file.put_aside(error)
        except OSError as trouble:
            return f"corrupt ({error}), and cannot be set aside: {trouble}"
        return ""


def _nothing(_db: sqlite3.Connection) -> None:
    """What is left to do once the readings are appended."""


def _transact(db: sqlite3.Connection, group: Sequence[_Work[Any]], now: float) -> list[Any]:
    db.execute("BEGIN IMMEDIATE")
    if readings := [new for work in group for new in work.readings]:
        reading_queries.append(db, readings, now)
    results = [work.statement(db) for work in group]
    db.execute("COMMIT")
    return results


def _roll_back(db: sqlite3.Connection | None) -> None:
    with suppress(sqlite3.Error):
        if db and db.in_transaction:
            db.execute("ROLLBACK")


def _fail(group: Sequence[_Work[Any]], error: Exception) -> None:
    for work in group:
        work.future.set_exception(error)
