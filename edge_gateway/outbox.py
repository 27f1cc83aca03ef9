"""Readings on disk until the API has them: one SQLite file, one writer thread, commits shared by who waits.

Callers hand over a piece of work and get a future that is done once the work is durable (WAL with
`synchronous=FULL`: on disk, not only written). Work gathers for 0.2 s before a transaction, unless somebody
is in a hurry or much is waiting, and while the one before is flushed: a flush costs the same for one reading
and for hundreds, in time and in wear of the card.

A full or failing disk is a state (`trouble`), at start as well: the work waits and is tried again. What only
looks never waits for the writer, so that alarms go on with what was known before. A corrupt file is set aside
for a person to look at, and a fresh one takes its place.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import Any, Generic, Self, TypeVar
from uuid import UUID

from edge_gateway import bracelet_store, room, schema, store
from edge_gateway.bracelet_store import ClockEra, Progress
from edge_gateway.errors import OutboxUnavailable
from edge_gateway.room import Gap
from edge_gateway.store import Counts, Entry, NewReading

log = logging.getLogger(__name__)

T = TypeVar("T")
Statement = Callable[[sqlite3.Connection], T]

_MOST_IN_A_GROUP = 1000
_GATHER_S = 0.2
_ENOUGH = 200
"""Readings worth a transaction of their own."""
_TRY_AGAIN_S = 1.0
_PATIENCE_S = 5.0
"""Longest a link to a bracelet waits for something to be noted, before it goes on without."""
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


class _Work(Generic[T]):
    """One caller's statement, or readings to append before all statements, and the future it waits on."""

    __slots__ = ("future", "readings", "statement")

    def __init__(self, statement: Statement[T], readings: Sequence[NewReading] = ()) -> None:
        self.statement: Statement[T] = statement
        self.readings = readings
        self.future: Future[T] = Future()


class Outbox:
    """The gateway's durable memory.

    Args:
        path: the file; its directory is made where missing.
        now: the clock, seconds since 1970.
        on_trouble: told, in the writer thread, what the disk's trouble is, "" once it is over.

    Attributes:
        trouble: why nothing can be made durable at the moment; empty when all is well.
        set_aside: corrupt files that were put out of the way since the start.
    """

    def __init__(
        self,
        path: Path,
        now: Callable[[], float] = time.time,
        on_trouble: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.path, self._now, self._on_trouble = path, now, on_trouble
        self.trouble = ""
        self.set_aside: list[Path] = []
        self._queue: SimpleQueue[_Work[Any] | None] = SimpleQueue()
        self._hurry, self._closing = threading.Event(), threading.Event()
        self._closed = False
        self._thread = threading.Thread(target=self._serve, name="outbox", daemon=True)

    def open(self) -> Self:
        """Open the file and start writing; a corrupt file is set aside first, a failing disk is waited for.

        Raises:
            OutboxUnavailable: the directory cannot be made, or is not ours to write to; or the file is none
                that this version understands.
        """
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            if not _is_ours(self.path.parent):
                raise PermissionError(f"{self.path.parent} is not ours to write to; correct its owner")
            with closing(self._open_checked()):
                pass
        except (OSError, sqlite3.Error) as error:
            if not _passes(error):
                raise OutboxUnavailable(f"the outbox {self.path} cannot be opened: {error}") from error
            self._note(str(error))
        self._thread.start()
        return self

    def close(self) -> None:
        """Commit what was handed over, then stop; where the disk fails, give up and say so to who waits."""
        if not self._closed:
            self._closed = True
            self._closing.set()
            self._queue.put(None)
            self._hurry.set()
            self._thread.join()

    def __enter__(self) -> Self:
        return self.open()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def append(self, readings: Sequence[NewReading]) -> Future[None]:
        """Make readings durable, in order; one whose identity is known is left out."""
        return self._submit(_Work(_nothing, readings), hurry=len(readings) >= _ENOUGH)

    def bury(self, error_id: UUID, body: str) -> Future[None]:
        """Make a dead letter durable."""
        return self._submit(_Work(lambda db: store.bury(db, error_id, body)), hurry=False)

    async def newest(self) -> int:
        """The newest row; 0 where there is none."""
        return await self._ask(store.newest)

    async def peek_live(self, after: int, limit: int) -> list[Entry]:
        """The newest pending readings behind a row."""
        return await self._ask(lambda db: store.peek_live(db, after, limit))

    async def peek_backlog(self, up_to: int, limit: int) -> list[Entry]:
        """The oldest pending readings up to a row, critical ones first."""
        return await self._ask(lambda db: store.peek_backlog(db, up_to, limit))

    async def recent(self, before: int, since: float, limit: int) -> list[Entry]:
        """The newest readings before a row that were committed since then, delivered or not, in order."""
        return await self._look(lambda db: store.recent(db, before, since, limit))

    async def filled(self, bound: int) -> float:
        """Share of a bound, in bytes, that is in use."""
        return await self._ask(room.used_bytes) / bound

    async def make_room(self, bound: int) -> int:
        """Take one step towards a bound, in bytes; returns how many rows went, 0 where none needs to."""
        return await self._ask(lambda db: room.make_room(db, bound, self._now()))

    async def report_gaps(self, letter: Callable[[Gap], tuple[UUID, str]]) -> int:
        """Turn gaps into dead letters; returns how many.

        Args:
            letter: identity and body of the dead letter about a gap.
        """

        def write(db: sqlite3.Connection) -> int:
            gaps = room.take_gaps(db)
            for gap in gaps:
                store.bury(db, *letter(gap))
            return len(gaps)

        return await self._ask(write)

    async def settle(self, accepted: Sequence[int], rejected: Sequence[tuple[int, str]]) -> None:
        """Note what the API made of a batch: rows it has, and rows it refuses with its reason."""

        def write(db: sqlite3.Connection) -> None:
            now = self._now()
            store.acknowledge(db, accepted, now)
            for row, reason in rejected:
                store.reject(db, row, reason, now)

        await self._ask(write, hurry=len(accepted) >= _ENOUGH)

    async def peek_dead_letters(self, limit: int) -> list[Entry]:
        """The oldest dead letters that are still to be sent."""
        return await self._ask(lambda db: store.peek_dead_letters(db, limit))

    async def acknowledge_dead_letters(self, ids: Sequence[int]) -> None:
        """The API has these dead letters."""
        await self._ask(lambda db: store.acknowledge_dead_letters(db, ids, self._now()), hurry=False)

    async def progress(self, device_id: str) -> Progress | None:
        """How far a bracelet's records are committed."""
        return await self._look(lambda db: bracelet_store.read_progress(db, device_id))

    async def remember(self, device_id: str, progress: Progress) -> None:
        """Note how far a bracelet's records are committed.

        Raises:
            OutboxUnavailable: not within a few seconds.
        """
        await self._ask_soon(lambda db: bracelet_store.write_progress(db, device_id, progress))

    async def eras(self, device_id: str) -> tuple[ClockEra, ...]:
        """Times at which a bracelet's clock was set, oldest first."""
        return await self._look(lambda db: bracelet_store.read_eras(db, device_id))

    async def begin_era(self, device_id: str, era: ClockEra) -> None:
        """Note that a bracelet's clock is being set.

        Raises:
            OutboxUnavailable: not within a few seconds.
        """
        await self._ask_soon(lambda db: bracelet_store.write_era(db, device_id, era))

    async def alarm_states(self) -> dict[str, str]:
        """What was kept of alarms, by name."""
        return await self._look(bracelet_store.read_alarm_states)

    async def keep_alarm_state(self, name: str, state: str) -> None:
        """Keep the state of a child's alarms, or of the gateway's conditions."""
        await self._ask(lambda db: bracelet_store.write_alarm_state(db, name, state))

    async def audit(self, who: str, action: str, detail: str) -> None:
        """Keep what somebody did on the page, as soon as the disk takes it; nobody waits for it."""
        now = self._now()
        self._submit(_Work(lambda db: bracelet_store.write_audit(db, who, action, detail, now)), hurry=True)

    async def addresses(self) -> dict[str, str]:
        """Bluetooth address of each bracelet that was connected once."""
        return await self._look(bracelet_store.read_addresses)

    async def know(self, device_id: str, address: str) -> None:
        """Know a bracelet by this Bluetooth address from now on.

        Raises:
            OutboxUnavailable: not within a few seconds.
        """
        await self._ask_soon(lambda db: bracelet_store.write_address(db, device_id, address, self._now()))

    async def forget(self, device_id: str) -> bool:
        """Know a bracelet no longer; returns whether it was known.

        Raises:
            OutboxUnavailable: not within a few seconds.
        """
        return await self._ask_soon(lambda db: bracelet_store.delete_address(db, device_id))

    async def purge(self, history_s: float) -> int:
        """Delete a portion of what is older than the history; returns how many rows."""
        return await self._ask(lambda db: store.purge(db, history_s, self._now()))

    async def counts(self) -> Counts:
        """What the outbox has held since it was made."""
        return await self._look(store.counts)

    async def _look(self, statement: Statement[T]) -> T:
        """What is committed, without the writer; where nothing can be read, as if nothing had been kept."""

        def look() -> T:
            try:
                with reading(self.path) as db:
                    return statement(db)
            except (OSError, sqlite3.Error) as error:
                log.error("outbox cannot be read: %s", error)
                with closing(_nothing_kept()) as db:
                    return statement(db)

        return await asyncio.to_thread(look)

    async def _ask_soon(self, statement: Statement[T]) -> T:
        try:
            async with asyncio.timeout(_PATIENCE_S):
                return await self._ask(statement)
        except TimeoutError:
            raise OutboxUnavailable(f"the disk takes nothing at the moment: {self.trouble}") from None

    async def _ask(self, statement: Statement[T], *, hurry: bool = True) -> T:
        return await asyncio.wrap_future(self._submit(_Work(statement), hurry=hurry))

    def _submit(self, work: _Work[T], *, hurry: bool) -> Future[T]:
        if self._closed:
            work.future.set_exception(OutboxUnavailable("the outbox is closed"))
        else:
            self._queue.put(work)
            if hurry or self._queue.qsize() >= _ENOUGH:
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
            if self._queue.qsize() < _ENOUGH:
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
                db = db or self._open_checked()
                results = _transact(db, group, self._now())
            except (OSError, sqlite3.Error) as error:
                _roll_back(db)
                trouble = str(error)
                if _code(error) in _CORRUPT:
                    trouble = self._close_and_set_aside(db, error)
                    db = None
                elif not _passes(error):
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
            return self._open_checked()
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
            self._set_aside(str(error))
        except OSError as trouble:
            return f"corrupt ({error}), and cannot be set aside: {trouble}"
        return ""

    def _open_checked(self) -> sqlite3.Connection:
        try:
            db = _connect(self.path)
        except sqlite3.DatabaseError as error:
            if _code(error) not in _CORRUPT:
                raise
            self._set_aside(str(error))
            db = _connect(self.path)
        if self.set_aside:
            self._number_on(db)
        return db

    def _number_on(self, db: sqlite3.Connection) -> None:
        """Rows of a fresh file come after all of the file before: who delivers knows how far those went."""
        db.execute(
            "INSERT INTO sqlite_sequence (name, seq) SELECT 'readings', ?"
            " WHERE NOT EXISTS (SELECT 1 FROM sqlite_sequence WHERE name = 'readings')",
            (round(self._now() * 1000),),
        )

    def _set_aside(self, reason: str) -> None:
        stamp = datetime.fromtimestamp(self._now(), UTC).strftime("%Y%m%dT%H%M%S.%fZ")
        aside = self.path.with_name(f"{self.path.name}.corrupt-{stamp}")
        for suffix in ("", "-wal", "-shm"):
            with suppress(FileNotFoundError):
                Path(f"{self.path}{suffix}").rename(f"{aside}{suffix}")
        self.set_aside.append(aside)
        log.error("outbox is corrupt (%s): set aside as %s, a fresh one takes its place", reason, aside.name)


def read_counts(path: Path) -> Counts:
    """Counts of an outbox, also while a gateway writes it; nothing where there is no file.

    Raises:
        sqlite3.Error: the file cannot be read.
    """
    with reading(path) as db:
        return store.counts(db)


@contextmanager
def reading(path: Path) -> Iterator[sqlite3.Connection]:
    """An outbox to look into, also while a gateway writes it; an empty one where there is no file.

    Raises:
        sqlite3.Error: the file cannot be read.
    """
    with closing(_connect_to_read(path)) as db:
        yield db


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
        return _nothing_kept()
    try:
        db = _connect_as(path, "mode=ro")
    except sqlite3.OperationalError:
        db = _connect_as(path, "immutable=1")
    if db.execute("SELECT 1 FROM sqlite_schema WHERE name = 'counters'").fetchone():
        return db
    db.close()
    return _nothing_kept()


def _connect_as(path: Path, how: str) -> sqlite3.Connection:
    db = sqlite3.connect(f"{path.resolve().as_uri()}?{how}", uri=True, timeout=10)
    try:
        db.execute("SELECT 1 FROM sqlite_schema").fetchone()
    except sqlite3.Error:
        db.close()
        raise
    return db


def _nothing_kept() -> sqlite3.Connection:
    db = sqlite3.connect(":memory:")
    schema.prepare(db)
    return db


def _is_ours(directory: Path) -> bool:
    """Whether we may write there, but for a disk that is read-only at the moment."""
    read_only = bool(os.statvfs(directory).f_flag & os.ST_RDONLY)
    return read_only or os.access(directory, os.W_OK | os.X_OK)


def _code(error: Exception) -> int:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


def _passes(error: Exception) -> bool:
    """Whether it is the disk's trouble, which may pass."""
    return _code(error) in _PASSING or (isinstance(error, OSError) and error.errno in _DISK_TROUBLE)


def _corrupt(verdict: str) -> sqlite3.DatabaseError:
    error = sqlite3.DatabaseError(verdict)
    error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
    return error


def _nothing(_db: sqlite3.Connection) -> None:
    """What is left to do once the readings are appended."""


def _transact(db: sqlite3.Connection, group: Sequence[_Work[Any]], now: float) -> list[Any]:
    db.execute("BEGIN IMMEDIATE")
    if readings := [new for work in group for new in work.readings]:
        store.append(db, readings, now)
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
