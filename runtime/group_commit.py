"""A thread that writes to one SQLite file and commits the work of all its callers in groups.

A flush costs the same for one row and for hundreds, in time and in wear of the disk. Work therefore gathers
while the previous group is flushed and, where a gathering time is set, for that time as well.
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

from runtime.sqlite_file import SqliteFile, is_corrupt, is_temporary

log = logging.getLogger(__name__)

W = TypeVar("W")

_GATHER_UP_TO = 200
"""Number of waiting items from which on a group waits for no more."""


class GroupCommit(Generic[W]):
    """Makes work durable in the order it is submitted; a future is resolved after the commit of its work.

    If a group fails, each item is committed by itself, so that one item cannot fail the others. Callbacks run
    in the writing thread.

    Args:
        name: of the thread, and of the file in messages.
        execute: performs the work of a group inside a transaction; returns a result for each item.
        unavailable: creates the error for work that is not durable because of `close`.
        max_group: maximum number of items in a transaction.
        gather_s: how long work that is not in a hurry waits for more work.
        retry_s: pause before a group is tried again while the disk is full, read-only or failing; a file that
            turns corrupt is then replaced as well. None fails the callers instead.
        on_commit: called after each commit, before its futures are resolved.
        on_trouble: called when `trouble` changes; by `start` in the caller's thread.

    Attributes:
        trouble: why the file cannot be written at the moment; empty while it can.
    """

    def __init__(
        self,
        name: str,
        file: SqliteFile,
        execute: Callable[[sqlite3.Connection, Sequence[W]], Sequence[Any]],
        unavailable: Callable[[str], Exception],
        *,
        max_group: int,
        gather_s: float = 0.0,
        retry_s: float | None = None,
        on_commit: Callable[[], None] = lambda: None,
        on_trouble: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._name, self._file, self._execute, self._unavailable = name, file, execute, unavailable
        self._max_group, self._gather_s, self._retry_s = max_group, gather_s, retry_s
        self._on_commit, self._on_trouble = on_commit, on_trouble
        self.trouble = ""
        self._db: sqlite3.Connection | None = None
        self._queue: SimpleQueue[_Item[W] | None] = SimpleQueue()
        self._hurry, self._closing = threading.Event(), threading.Event()
        self._submitting = threading.Lock()  # no work is queued after the end marker
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self, db: sqlite3.Connection | None = None, trouble: str = "") -> None:
        """Start the thread.

        Args:
            db: a connection of the file; without one the first group opens it.
            trouble: why there is none.
        """
        self._db = db
        self._note(trouble)
        self._thread.start()

    def close(self) -> None:
        """Commit what was submitted, then stop; work that the disk does not take fails."""
        with self._submitting:
            if self._closing.is_set():
                return
            self._closing.set()
            self._queue.put(None)
        self._hurry.set()
        self._thread.join()

    def submit(self, work: W, *, hurry: bool = False) -> Future[Any]:
        """Queue work; the future has its result once it is durable.

        Args:
            hurry: do not let it wait for the gathering time.
        """
        item = _Item(work)
        with self._submitting:
            if self._closing.is_set():
                item.future.set_exception(self._unavailable(f"the {self._name} is closed"))
                return item.future
            self._queue.put(item)
        if hurry or self._queue.qsize() >= _GATHER_UP_TO:
            self._hurry.set()
        return item.future

    def _run(self) -> None:
        while group := self._next_group():
            self._commit(group)
        self._disconnect()

    def _next_group(self) -> list[_Item[W]]:
        """Wait for work and return what is queued; empty at the end."""
        group: list[_Item[W]] = []
        item = self._queue.get()
        if item is not None and not self._closing.is_set():
            if self._queue.qsize() < _GATHER_UP_TO:
                self._hurry.wait(self._gather_s)
            self._hurry.clear()
        while item is not None:
            if item.future.set_running_or_notify_cancel():
                group.append(item)
            if len(group) >= self._max_group:
                break
            try:
                item = self._queue.get_nowait() if group else self._queue.get()
            except Empty:
                break
        if item is None and group:
            self._queue.put(None)  # the end marker stays last
        return group

    def _commit(self, group: Sequence[_Item[W]]) -> None:
        """Commit a group and resolve its futures."""
        while True:
            try:
                results = self._transact([item.work for item in group])
            except Exception as error:  # noqa: BLE001 - raised to the callers
                self._roll_back()
                if not self._should_retry(error):
                    self._fail(group, error)
                    return
                trouble = self._repair(error)
                if trouble and not self._wait(trouble):
                    closed = f"closed while the disk had trouble: {trouble}"
                    for item in group:
                        item.future.set_exception(self._unavailable(closed))
                    return
            else:
                self._on_commit()
                self._note("")
                for item, result in zip(group, results, strict=True):
                    item.future.set_result(result)
                return

    def _transact(self, work: Sequence[W]) -> Sequence[Any]:
        db = self._db = self._db or self._file.connect()
        db.execute("BEGIN IMMEDIATE")
        results = self._execute(db, work)
        db.execute("COMMIT")
        return results

    def _fail(self, group: Sequence[_Item[W]], error: Exception) -> None:
        """Commit each item of a failed group by itself; fail the one that is alone."""
        if len(group) > 1:
            for item in group:
                self._commit([item])
            return
        if is_temporary(error) or is_corrupt(error):
            self._note(str(error))
        group[0].future.set_exception(error)

    def _should_retry(self, error: Exception) -> bool:
        return self._retry_s is not None and (is_temporary(error) or is_corrupt(error))

    def _repair(self, error: Exception) -> str:
        """Replace a corrupt file; return why the group has to wait, empty where it need not."""
        if not is_corrupt(error):
            return str(error)
        self._disconnect()
        try:
            self._file.replace(error)
        except OSError as refusal:
            return f"corrupt ({error}), and cannot be set aside: {refusal}"
        return ""

    def _wait(self, trouble: str) -> bool:
        """Wait before the next attempt; return False when closing."""
        self._note(trouble)
        return not self._closing.wait(self._retry_s)

    def _note(self, trouble: str) -> None:
        if trouble == self.trouble:
            return
        self.trouble = trouble
        if trouble:
            log.error("%s cannot be written: %s", self._name, trouble)
        else:
            log.warning("%s can be written again", self._name)
        self._on_trouble(trouble)

    def _roll_back(self) -> None:
        with suppress(sqlite3.Error):
            if self._db and self._db.in_transaction:
                self._db.execute("ROLLBACK")

    def _disconnect(self) -> None:
        if self._db:
            with suppress(sqlite3.Error):
                self._db.close()
        self._db = None


class _Item(Generic[W]):
    """Work and the future of its result."""

    __slots__ = ("future", "work")

    def __init__(self, work: W) -> None:
        self.work = work
        self.future: Future[Any] = Future()
