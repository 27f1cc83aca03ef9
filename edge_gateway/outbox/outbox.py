"""Durable storage of the gateway in one SQLite file: undelivered readings and state that survives a restart.

Writes return a future that is done once the write is durable (WAL with `synchronous=FULL`).

A full or failing disk is a state (`trouble`), also at start: writes wait and are retried. Reads do not wait
for the writer, so alarms continue with what was stored before. A corrupt file is set aside for inspection and
replaced by an empty one.
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
from edge_gateway.outbox.reading_queries import NewReading, OutboxCounts, OutboxEntry
from edge_gateway.outbox.retention import Gap
from edge_gateway.outbox.writer import LARGE_BATCH, Statement, T, Writer
from runtime.sqlite_file import used_bytes

log = logging.getLogger(__name__)

_PATIENCE_S = 5.0
"""Longest time that a link to a bracelet waits for a write before it continues without it."""


class Outbox:
    """The gateway's durable storage.

    Args:
        path: the file; its directory is created if missing.
        now: the clock, seconds since 1970.
        on_trouble: called in the writer's thread with the disk's error, and with "" once it is over.
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
        """The error that blocks writes at the moment; empty if there is none."""
        return self._writer.trouble

    @property
    def set_aside(self) -> Sequence[Path]:
        """Corrupt files renamed since the start."""
        return self._file.set_aside

    def open(self) -> Self:
        """Open the file and start the writer; a corrupt file is set aside, a failing disk waited for.

        Raises:
            OutboxUnavailable: the directory cannot be created or written to, or this version cannot read the
                file.
        """
        self._writer.start()
        return self

    def close(self) -> None:
        """Commit pending writes and stop; if the disk fails, their futures raise OutboxUnavailable."""
        self._writer.close()

    def __enter__(self) -> Self:
        return self.open()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def append(self, readings: Sequence[NewReading]) -> Future[None]:
        """Append readings in order, without those whose identity is already stored."""
        return self._writer.append(readings)

    def append_dead_letter(self, error_id: UUID, body: str) -> Future[None]:
        """Append a dead letter, unless its identity is already stored."""
        return self._writer.submit(
            lambda db: reading_queries.append_dead_letter(db, error_id, body), hurry=False
        )

    async def newest(self) -> int:
        """Return the highest row number of a reading, 0 if there is none."""
        return await self._ask(reading_queries.newest)

    async def peek_live(self, after: int, limit: int, excluded: Sequence[int] = ()) -> list[OutboxEntry]:
        """Return the newest pending readings after a row, without the excluded rows."""
        return await self._ask(lambda db: reading_queries.peek_live(db, after, limit, excluded))

    async def peek_backlog(self, up_to: int, limit: int, excluded: Sequence[int] = ()) -> list[OutboxEntry]:
        """Return the oldest pending readings up to a row, critical ones first, without the excluded rows."""
        return await self._ask(lambda db: reading_queries.peek_backlog(db, up_to, limit, excluded))

    async def recent(self, before: int, since: float, limit: int) -> list[OutboxEntry]:
        """Return the newest readings before a row, delivered or not, that were committed since a time."""
        return await self._look(lambda db: reading_queries.recent(db, before, since, limit))

    async def fill_ratio(self, bound: int) -> float:
        """Return the share of a bound, in bytes, that is in use."""
        return await self._ask(used_bytes) / bound

    async def enforce_bound(self, bound: int) -> int:
        """Delete one chunk of rows if the file exceeds a bound, in bytes. Return how many."""
        return await self._ask(lambda db: retention.enforce_bound(db, bound, self._now()))

    async def report_gaps(self, letter: Callable[[Gap], tuple[UUID, str]]) -> int:
        """Turn gaps into dead letters. Return how many.

        Args:
            letter: returns identity and body of the dead letter for a gap.
        """

        def write(db: sqlite3.Connection) -> int:
            gaps = retention.pop_gaps(db)
            for gap in gaps:
                reading_queries.append_dead_letter(db, *letter(gap))
            return len(gaps)

        return await self._ask(write)

    async def settle(self, accepted: Sequence[int], rejected: Sequence[tuple[int, str]]) -> None:
        """Record the API's answer to a batch: accepted rows, and rejected rows with the reason."""

        def write(db: sqlite3.Connection) -> None:
            now = self._now()
            reading_queries.acknowledge(db, accepted, now)
            for row, reason in rejected:
                reading_queries.reject(db, row, reason, now)

        await self._ask(write, hurry=len(accepted) >= LARGE_BATCH)

    async def reject_with_dead_letter(self, row: int, reason: str, error_id: UUID, body: str) -> None:
        """Mark a reading as refused for good and append a dead letter about it, in one transaction."""

        def write(db: sqlite3.Connection) -> None:
            if reading_queries.reject(db, row, reason, self._now()):
                reading_queries.append_dead_letter(db, error_id, body)

        await self._ask(write)

    async def peek_dead_letters(self, limit: int, excluded: Sequence[int] = ()) -> list[OutboxEntry]:
        """Return the oldest pending dead letters, without the excluded rows."""
        return await self._ask(lambda db: reading_queries.peek_dead_letters(db, limit, excluded))

    async def acknowledge_dead_letters(self, ids: Sequence[int]) -> None:
        """Mark dead letters as delivered."""
        await self._ask(
            lambda db: reading_queries.acknowledge_dead_letters(db, ids, self._now()), hurry=False
        )

    async def progress(self, device_id: str) -> Progress | None:
        """Return how far a bracelet's records are committed; None for an unknown bracelet."""
        return await self._look(lambda db: device_queries.read_progress(db, device_id))

    async def save_progress(self, device_id: str, progress: Progress) -> None:
        """Store how far a bracelet's records are committed.

        Raises:
            OutboxUnavailable: not durable within a few seconds.
        """
        await self._ask_soon(lambda db: device_queries.write_progress(db, device_id, progress))

    async def clock_eras(self, device_id: str) -> tuple[ClockEra, ...]:
        """Return the eras of a bracelet's clock, oldest first."""
        return await self._look(lambda db: device_queries.read_eras(db, device_id))

    async def add_clock_era(self, device_id: str, era: ClockEra) -> None:
        """Store that a bracelet's clock is being set.

        Raises:
            OutboxUnavailable: not durable within a few seconds.
        """
        await self._ask_soon(lambda db: device_queries.write_era(db, device_id, era))

    async def alarm_states(self) -> dict[str, str]:
        """Return the stored alarm states by name."""
        return await self._look(device_queries.read_alarm_states)

    async def keep_alarm_state(self, name: str, state: str) -> None:
        """Store the state of a child's alarms or of the gateway's conditions."""
        await self._ask(lambda db: device_queries.write_alarm_state(db, name, state))

    async def audit(self, who: str, action: str, detail: str) -> None:
        """Store a person's action without waiting until it is durable."""
        now = self._now()
        self._writer.submit(lambda db: device_queries.write_audit(db, who, action, detail, now), hurry=True)

    async def addresses(self) -> dict[str, str]:
        """Return the Bluetooth address of each bracelet that was connected before."""
        return await self._look(device_queries.read_addresses)

    async def save_address(self, device_id: str, address: str) -> None:
        """Store a bracelet's Bluetooth address.

        Raises:
            OutboxUnavailable: not durable within a few seconds.
        """
        await self._ask_soon(lambda db: device_queries.write_address(db, device_id, address, self._now()))

    async def delete_address(self, device_id: str) -> bool:
        """Delete a bracelet's Bluetooth address. Return whether there was one.

        Raises:
            OutboxUnavailable: not durable within a few seconds.
        """
        return await self._ask_soon(lambda db: device_queries.delete_address(db, device_id))

    async def purge(self, history_s: float) -> int:
        """Delete a chunk of the rows older than the history. Return how many."""
        return await self._ask(lambda db: reading_queries.purge(db, history_s, self._now()))

    async def counts(self) -> OutboxCounts:
        """Return the totals since the outbox was created."""
        return await self._look(reading_queries.counts)

    async def _look(self, statement: Statement[T]) -> T:
        """Read what is committed, without the writer; an unreadable file reads as an empty one."""

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
            raise OutboxUnavailable(f"the disk accepts no writes at the moment: {self.trouble}") from None

    async def _ask(self, statement: Statement[T], *, hurry: bool = True) -> T:
        return await asyncio.wrap_future(self._writer.submit(statement, hurry=hurry))


def read_counts(path: Path) -> OutboxCounts:
    """Return an outbox's counts, also while a gateway writes it; zeros if there is no file.

    Raises:
        sqlite3.Error: the file cannot be read.
    """
    with open_to_read(path) as db:
        return reading_queries.counts(db)
