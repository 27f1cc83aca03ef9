"""Readings on disk until the API has them, and what must survive a restart beside them: one SQLite file.

Callers hand over a piece of work and get a future that is done once the work is durable (WAL with
`synchronous=FULL`: on disk, not only written).

A full or failing disk is a state (`trouble`), at start as well: the work waits and is tried again. What only
looks never waits for the writer, so that alarms go on with what was known before. A corrupt file is set aside
for a person to look at, and a fresh one takes its place.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import closing
from pathlib import Path
from types import TracebackType
from typing import Self
from uuid import UUID

from edge_gateway.errors import OutboxUnavailable
from edge_gateway.outbox import device_queries, reading_queries, retention
from edge_gateway.outbox.device_queries import ClockEra, Progress
from edge_gateway.outbox.file import OutboxFile, empty_outbox, open_to_read
from edge_gateway.outbox.reading_queries import Counts, Entry, NewReading
from edge_gateway.outbox.retention import Gap
from edge_gateway.outbox.writer import LARGE_BATCH, Statement, T, Writer

log = logging.getLogger(__name__)

_PATIENCE_S = 5.0
"""Longest a link to a bracelet waits for something to be noted, before it goes on without."""


class Outbox:
    """The gateway's durable memory.

    Args:
        path: the file; its directory is made where missing.
        now: the clock, seconds since 1970.
        on_trouble: told, in the writer's thread, what the disk's trouble is, "" once it is over.
    """

    def __init__(
        self,
        path: Path,
        now: Callable[[], float] = time.time,
        on_trouble: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._now, self._file = now, OutboxFile(path, now)
        self._writer = Writer(self._file, now, on_trouble)

    @property
    def trouble(self) -> str:
        """Why nothing can be made durable at the moment; empty when all is well."""
        return self._writer.trouble

    @property
    def set_aside(self) -> Sequence[Path]:
        """Corrupt files that were put out of the way since the start."""
        return self._file.set_aside

    def open(self) -> Self:
        """Open the file and start writing; a corrupt file is set aside first, a failing disk is waited for.

        Raises:
            OutboxUnavailable: the directory cannot be made, or is not ours to write to; or the file is none
                that this version understands.
        """
        self._writer.start()
        return self

    def close(self) -> None:
        """Commit what was handed over, then stop; where the disk fails, give up and say so to who waits."""
        self._writer.close()

    def __enter__(self) -> Self:
        return self.open()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def append(self, readings: Sequence[NewReading]) -> Future[None]:
        """Make readings durable, in order; one whose identity is known is left out."""
        return self._writer.append(readings)

    def bury(self, error_id: UUID, body: str) -> Future[None]:
        """Make a dead letter durable."""
        return self._writer.submit(lambda db: reading_queries.bury(db, error_id, body), hurry=False)

    async def newest(self) -> int:
        """The newest row; 0 where there is none."""
        return await self._ask(reading_queries.newest)

    async def peek_live(self, after: int, limit: int) -> list[Entry]:
        """The newest pending readings behind a row."""
        return await self._ask(lambda db: reading_queries.peek_live(db, after, limit))

    async def peek_backlog(self, up_to: int, limit: int) -> list[Entry]:
        """The oldest pending readings up to a row, critical ones first."""
        return await self._ask(lambda db: reading_queries.peek_backlog(db, up_to, limit))

    async def recent(self, before: int, since: float, limit: int) -> list[Entry]:
        """The newest readings before a row that were committed since then, delivered or not, in order."""
        return await self._look(lambda db: reading_queries.recent(db, before, since, limit))

    async def filled(self, bound: int) -> float:
        """Share of a bound, in bytes, that is in use."""
        return await self._ask(retention.used_bytes) / bound

    async def make_room(self, bound: int) -> int:
        """Take one step towards a bound, in bytes; returns how many rows went, 0 where none needs to."""
        return await self._ask(lambda db: retention.make_room(db, bound, self._now()))

    async def report_gaps(self, letter: Callable[[Gap], tuple[UUID, str]]) -> int:
        """Turn gaps into dead letters; returns how many.

        Args:
            letter: identity and body of the dead letter about a gap.
        """

        def write(db: sqlite3.Connection) -> int:
            gaps = retention.take_gaps(db)
            for gap in gaps:
                reading_queries.bury(db, *letter(gap))
            return len(gaps)

        return await self._ask(write)

    async def settle(self, accepted: Sequence[int], rejected: Sequence[tuple[int, str]]) -> None:
        """Note what the API made of a batch: rows it has, and rows it refuses with its reason."""

        def write(db: sqlite3.Connection) -> None:
            now = self._now()
            reading_queries.acknowledge(db, accepted, now)
            for row, reason in rejected:
                reading_queries.reject(db, row, reason, now)

        await self._ask(write, hurry=len(accepted) >= LARGE_BATCH)

    async def peek_dead_letters(self, limit: int) -> list[Entry]:
        """The oldest dead letters that are still to be sent."""
        return await self._ask(lambda db: reading_queries.peek_dead_letters(db, limit))

    async def acknowledge_dead_letters(self, ids: Sequence[int]) -> None:
        """The API has these dead letters."""
        await self._ask(
            lambda db: reading_queries.acknowledge_dead_letters(db, ids, self._now()), hurry=False
        )

    async def progress(self, device_id: str) -> Progress | None:
        """How far a bracelet's records are committed."""
        return await self._look(lambda db: device_queries.read_progress(db, device_id))

    async def remember(self, device_id: str, progress: Progress) -> None:
        """Note how far a bracelet's records are committed.

        Raises:
            OutboxUnavailable: not within a few seconds.
        """
        await self._ask_soon(lambda db: device_queries.write_progress(db, device_id, progress))

    async def eras(self, device_id: str) -> tuple[ClockEra, ...]:
        """Times at which a bracelet's clock was set, oldest first."""
        return await self._look(lambda db: device_queries.read_eras(db, device_id))

    async def begin_era(self, device_id: str, era: ClockEra) -> None:
        """Note that a bracelet's clock is being set.

        Raises:
            OutboxUnavailable: not within a few seconds.
        """
        await self._ask_soon(lambda db: device_queries.write_era(db, device_id, era))

    async def alarm_states(self) -> dict[str, str]:
        """What was kept of alarms, by name."""
        return await self._look(device_queries.read_alarm_states)

    async def keep_alarm_state(self, name: str, state: str) -> None:
        """Keep the state of a child's alarms, or of the gateway's conditions."""
        await self._ask(lambda db: device_queries.write_alarm_state(db, name, state))

    async def audit(self, who: str, action: str, detail: str) -> None:
        """Keep what somebody did on the page, as soon as the disk takes it; nobody waits for it."""
        now = self._now()
        self._writer.submit(lambda db: device_queries.write_audit(db, who, action, detail, now), hurry=True)

    async def addresses(self) -> dict[str, str]:
        """Bluetooth address of each bracelet that was connected once."""
        return await self._look(device_queries.read_addresses)

    async def know(self, device_id: str, address: str) -> None:
        """Know a bracelet by this Bluetooth address from now on.

        Raises:
            OutboxUnavailable: not within a few seconds.
        """
        await self._ask_soon(lambda db: device_queries.write_address(db, device_id, address, self._now()))

    async def forget(self, device_id: str) -> bool:
        """Know a bracelet no longer; returns whether it was known.

        Raises:
            OutboxUnavailable: not within a few seconds.
        """
        return await self._ask_soon(lambda db: device_queries.delete_address(db, device_id))

    async def purge(self, history_s: float) -> int:
        """Delete a portion of what is older than the history; returns how many rows."""
        return await self._ask(lambda db: reading_queries.purge(db, history_s, self._now()))

    async def counts(self) -> Counts:
        """What the outbox has held since it was made."""
        return await self._look(reading_queries.counts)

    async def _look(self, statement: Statement[T]) -> T:
        """What is committed, without the writer; where nothing can be read, as if nothing had been kept."""

        def look() -> T:
            try:
                with open_to_read(self._file.path) as db:
                    return statement(db)
            except (OSError, sqlite3.Error) as error:
                log.error("outbox cannot be read: %s", error)
                with closing(empty_outbox()) as db:
                    return statement(db)

        return await asyncio.to_thread(look)

    async def _ask_soon(self, statement: Statement[T]) -> T:
        try:
            async with asyncio.timeout(_PATIENCE_S):
                return await self._ask(statement)
        except TimeoutError:
            raise OutboxUnavailable(f"the disk takes nothing at the moment: {self.trouble}") from None

    async def _ask(self, statement: Statement[T], *, hurry: bool = True) -> T:
        return await asyncio.wrap_future(self._writer.submit(statement, hurry=hurry))


def read_counts(path: Path) -> Counts:
    """Counts of an outbox, also while a gateway writes it; nothing where there is no file.

    Raises:
        sqlite3.Error: the file cannot be read.
    """
    with open_to_read(path) as db:
        return reading_queries.counts(db)
