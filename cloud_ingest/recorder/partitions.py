"""Monthly partitions: made ahead of time and when a row needs one, dropped whole when they are too old.

A month more than 36 before today or two after it gets none of its own: such rows, of clocks that were never
set or ran ahead, stand together in each table's default partition. They move out when their month comes.
Nothing here waits for long: while a query that takes hours (a backup) forbids a new partition, its rows go
to the default one too.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from datetime import UTC, date, datetime, timedelta

import psycopg2
from psycopg2.extensions import connection

from cloud_ingest.recorder.row_mapping import TABLES, Row, Table

log = logging.getLogger(__name__)

MONTHS_BACK, MONTHS_AHEAD = 36, 2
UPKEEP_EVERY = timedelta(days=1)
RETRY_AFTER = timedelta(minutes=10)


def first_of_month(moment: datetime, months_later: int = 0) -> date:
    """First day of a moment's month in UTC, or of a month some months later (earlier where negative)."""
    moment = moment.astimezone(UTC)
    year, month = divmod(12 * moment.year + moment.month - 1 + months_later, 12)
    return date(year, month + 1, 1)


def own_month(timestamp: datetime, now: datetime) -> date | None:
    """The month whose partition a row belongs to; None where the default partition takes it."""
    month = first_of_month(timestamp)
    near = first_of_month(now, -MONTHS_BACK) <= month <= first_of_month(now, MONTHS_AHEAD)
    return month if near else None


class Partitions:
    """The partitions of one database, as one recorder knows them.

    Args:
        retention_months: months kept beside the current one; None keeps everything.
        clock: the time now, UTC.
    """

    def __init__(
        self, retention_months: int | None, clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self._retention, self._clock = retention_months, clock
        self._known: set[tuple[str, date]] = set()
        self._upkeep_at = self._make_at = datetime.min.replace(tzinfo=UTC)

    def ensure(self, database: connection, rows: Iterable[tuple[Table, Row]]) -> None:
        """Make the partitions that these rows need, each in a transaction of its own."""
        now = self._clock()
        needed = {(table.name, own_month(row[table.timestamp], now)) for table, row in rows}
        self._make(database, {(name, month) for name, month in needed if month}, now)

    def upkeep(self, database: connection) -> None:
        """Once a day: the coming months' partitions, and an end to those that are too old."""
        now = self._clock()
        if now < self._upkeep_at:
            return
        coming = [first_of_month(now, later) for later in range(MONTHS_AHEAD + 1)]
        wanted = {(table.name, month) for table in TABLES.values() for month in coming}
        self._make(database, wanted, now)
        done = self._drop_old(database, now) and wanted <= self._known
        self._upkeep_at = now + (UPKEEP_EVERY if done else RETRY_AFTER)

    def _make(self, database: connection, wanted: set[tuple[str, date]], now: datetime) -> None:
        if now < self._make_at:
            return
        for name, month in sorted(wanted - self._known):
            try:
                with database, database.cursor() as cur:
                    cur.execute("SELECT ensure_month(%s, %s)", (name, month))
                    ((made,),) = cur.fetchall()
            except psycopg2.errors.LockNotAvailable:
                log.warning("%s is in use: partition %s has to wait", name, month.strftime("%Y-%m"))
                self._make_at = now + RETRY_AFTER
                return
            if made:
                log.info("made partition %s of %s", month.strftime("%Y-%m"), name)
            self._known.add((name, month))

    def _drop_old(self, database: connection, now: datetime) -> bool:
        """Drop what retention gives up; False where a long query stood in the way."""
        if self._retention is None:
            return True
        cutoff = first_of_month(now, -self._retention)
        for table in TABLES.values():
            try:
                with database, database.cursor() as cur:
                    cur.execute("SELECT drop_months_before(%s, %s)", (table.name, cutoff))
                    dropped = [name for (name,) in cur.fetchall()]
            except psycopg2.errors.LockNotAvailable:
                log.warning("partitions of %s are in use: retention tries again later", table.name)
                return False
            if dropped:
                log.warning("retention: dropped %s, all before %s", ", ".join(dropped), cutoff)
        self._known = {(name, month) for name, month in self._known if month >= cutoff}
        return True
