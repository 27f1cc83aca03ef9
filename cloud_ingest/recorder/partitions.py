"""Monthly partitions: created ahead of time and when a row needs one, dropped whole by retention.

Months more than 36 before or two after the present have no partition: their rows, from clocks that were never
set or run ahead, go to the default partition of each table and move out when their month comes. Nothing here
blocks for long: while a long query (a backup) prevents a new partition, rows go to the default partition.
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
    """Return the first day of the month of `moment` in UTC, moved by `months_later` months."""
    moment = moment.astimezone(UTC)
    year, month = divmod(12 * moment.year + moment.month - 1 + months_later, 12)
    return date(year, month + 1, 1)


def own_month(timestamp: datetime, now: datetime) -> date | None:
    """Return the month of the partition that a row belongs to; None for the default partition."""
    month = first_of_month(timestamp)
    near = first_of_month(now, -MONTHS_BACK) <= month <= first_of_month(now, MONTHS_AHEAD)
    return month if near else None


class Partitions:
    """Creates and drops the partitions of one database.

    Args:
        retention_months: months kept besides the current one; None keeps everything.
        clock: returns the present time, UTC.
    """

    def __init__(
        self, retention_months: int | None, clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self._retention, self._clock = retention_months, clock
        self._existing: set[tuple[str, date]] = set()
        self._upkeep_at = self._create_at = datetime.min.replace(tzinfo=UTC)

    def ensure(self, database: connection, rows: Iterable[tuple[Table, Row]]) -> None:
        """Create the partitions that these rows need, each in its own transaction."""
        now = self._clock()
        needed = {(table.name, own_month(row[table.timestamp], now)) for table, row in rows}
        self._create(database, {(name, month) for name, month in needed if month}, now)

    def upkeep(self, database: connection) -> None:
        """Once a day, create the partitions of the coming months and drop those past retention."""
        now = self._clock()
        if now < self._upkeep_at:
            return
        coming = [first_of_month(now, later) for later in range(MONTHS_AHEAD + 1)]
        wanted = {(table.name, month) for table in TABLES.values() for month in coming}
        self._create(database, wanted, now)
        done = self._drop_old(database, now) and wanted <= self._existing
        self._upkeep_at = now + (UPKEEP_EVERY if done else RETRY_AFTER)

    def _create(self, database: connection, wanted: set[tuple[str, date]], now: datetime) -> None:
        if now < self._create_at:
            return
        for name, month in sorted(wanted - self._existing):
            try:
                with database, database.cursor() as cur:
                    cur.execute("SELECT ensure_month(%s, %s)", (name, month))
                    ((created,),) = cur.fetchall()
            except psycopg2.errors.LockNotAvailable:
                log.warning("%s is in use: partition %s is created later", name, month.strftime("%Y-%m"))
                self._create_at = now + RETRY_AFTER
                return
            if created:
                log.info("created partition %s of %s", month.strftime("%Y-%m"), name)
            self._existing.add((name, month))

    def _drop_old(self, database: connection, now: datetime) -> bool:
        """Drop partitions past retention; return False if a long query prevented it."""
        if self._retention is None:
            return True
        cutoff = first_of_month(now, -self._retention)
        for table in TABLES.values():
            try:
                with database, database.cursor() as cur:
                    cur.execute("SELECT drop_months_before(%s, %s)", (table.name, cutoff))
                    dropped = [name for (name,) in cur.fetchall()]
            except psycopg2.errors.LockNotAvailable:
                log.warning("partitions of %s are in use: retention will be retried", table.name)
                return False
            if dropped:
                log.warning("retention: dropped %s, before %s", ", ".join(dropped), cutoff)
        self._existing = {(name, month) for name, month in self._existing if month >= cutoff}
        return True
