"""Connections to PostgreSQL."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import psycopg2
from psycopg2.extensions import connection, cursor

from cloud_ingest.errors import DatabaseUnavailable
from cloud_ingest.settings import Settings

DEFAULT_HOST = "127.0.0.1"
T = TypeVar("T")


def connect(settings: Settings, application: str, statement_timeout_s: float | None = None) -> connection:
    """Return a new connection; fail within PGCONNECT_TIMEOUT.

    Args:
        statement_timeout_s: how long a statement may take, time spent waiting for a lock included.

    Raises:
        psycopg2.OperationalError: the server does not answer or refuses.
    """
    database: connection = psycopg2.connect(**parameters(settings), application_name=application)
    if statement_timeout_s is not None:
        with database, database.cursor() as cur:
            cur.execute("SET statement_timeout = %s", (round(statement_timeout_s * 1000),))
    return database


def parameters(settings: Settings) -> dict[str, Any]:
    """Return libpq's parameters; the keepalives detect a lost server within seconds."""
    return {
        "host": settings.pg_host or DEFAULT_HOST,
        "port": settings.pg_port,
        "dbname": settings.pg_database,
        "user": settings.pg_user,
        "password": settings.pg_password.get_secret_value() if settings.pg_password else None,
        "connect_timeout": settings.pg_connect_timeout,
        "keepalives_idle": 5,
        "keepalives_interval": 2,
        "keepalives_count": 3,
        "tcp_user_timeout": 10_000,
    }


def first_line(error: BaseException) -> str:
    """Return the first line of an error's text, without the details that libpq adds."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


class LastingConnection:
    """One connection, opened at the first transaction and again after an error; for one thread at a time.

    Args:
        application, statement_timeout_s: as in `connect`.
    """

    def __init__(
        self, settings: Settings, application: str, statement_timeout_s: float | None = None
    ) -> None:
        self._settings, self._application, self._timeout_s = settings, application, statement_timeout_s
        self._connection: connection | None = None

    def transact(self, work: Callable[[cursor], T]) -> T:
        """Run `work` in a transaction and return its result.

        Raises:
            DatabaseUnavailable: PostgreSQL does not answer or refuses; the cause says why.
        """
        try:
            if self._connection is None:
                self._connection = connect(self._settings, self._application, self._timeout_s)
            with self._connection, self._connection.cursor() as cur:
                return work(cur)
        except psycopg2.Error as error:
            self.close()
            raise DatabaseUnavailable(f"PostgreSQL: {type(error).__name__}") from error

    def close(self) -> None:
        """Close the connection, if it is open."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


class DbExecutor:
    """Runs the database work of requests on one thread of its own, in order.

    A server that hangs delays only this work, and nothing else that needs a thread.

    Args:
        name: of the thread.
        within_s: how long each piece of work may take, time in the queue included.
    """

    def __init__(self, name: str, within_s: float) -> None:
        self._worker, self._within_s = ThreadPoolExecutor(1, thread_name_prefix=name), within_s

    async def run(self, work: Callable[[], T]) -> T:
        """Run `work` and return its result; drop it if its turn does not come in time.

        Raises:
            DatabaseUnavailable: there is no result in time.
        """
        try:
            async with asyncio.timeout(self._within_s):
                return await asyncio.get_running_loop().run_in_executor(self._worker, work)
        except TimeoutError:
            raise DatabaseUnavailable("PostgreSQL does not answer in time") from None

    def close(self, last: Callable[[], None]) -> None:
        """Accept no more work; run `last` after the work in progress, without waiting for it."""
        self._worker.submit(last)
        self._worker.shutdown(wait=False)


class DatabaseProbe:
    """Checks over one lasting connection that PostgreSQL answers."""

    def __init__(self, settings: Settings) -> None:
        self._connection = LastingConnection(settings, "kidjamo-ingest health")

    def __call__(self) -> None:
        """Raise DatabaseUnavailable unless PostgreSQL answers."""
        self._connection.transact(lambda cur: cur.execute("SELECT 1"))

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()
