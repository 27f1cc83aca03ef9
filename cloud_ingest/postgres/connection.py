"""Reaching PostgreSQL."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import psycopg2
from psycopg2.extensions import connection

from cloud_ingest.errors import DatabaseUnavailable
from cloud_ingest.settings import Settings

DEFAULT_HOST = "127.0.0.1"
T = TypeVar("T")


def connect(settings: Settings, application: str, statement_timeout_s: float | None = None) -> connection:
    """A new connection, or an error within PGCONNECT_TIMEOUT.

    Args:
        statement_timeout_s: after how long a statement fails, also one that waits for a lock.

    Raises:
        psycopg2.OperationalError: the server does not answer or refuses.
    """
    made: connection = psycopg2.connect(**parameters(settings), application_name=application)
    if statement_timeout_s is not None:
        with made, made.cursor() as cur:
            cur.execute("SET statement_timeout = %s", (round(statement_timeout_s * 1000),))
    return made


def parameters(settings: Settings) -> dict[str, Any]:
    """libpq's parameters; a connection whose server vanished is noticed within seconds."""
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


class Questions:
    """Questions to PostgreSQL on behalf of requests, one after the other on a thread of their own.

    A server that hangs holds up these, and nothing else that needs a thread.

    Args:
        name: of the thread.
        within_s: how long each may take, its turn included.
    """

    def __init__(self, name: str, within_s: float) -> None:
        self._worker, self._within_s = ThreadPoolExecutor(1, thread_name_prefix=name), within_s

    async def ask(self, question: Callable[[], T]) -> T:
        """Put one; it is not put any more where its turn does not come in time.

        Raises:
            DatabaseUnavailable: there is no answer in time.
        """
        try:
            async with asyncio.timeout(self._within_s):
                return await asyncio.get_running_loop().run_in_executor(self._worker, question)
        except TimeoutError:
            raise DatabaseUnavailable("PostgreSQL does not answer in time") from None

    def close(self, last: Callable[[], None]) -> None:
        """Take no more; `last` comes after what is being asked, and is not waited for."""
        self._worker.submit(last)
        self._worker.shutdown(wait=False)


class DatabaseProbe:
    """Asks the database for a sign of life over one lasting connection."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._connection: connection | None = None

    def __call__(self) -> None:
        """Raise unless the database answers; the connection is made anew after a failure."""
        try:
            if self._connection is None:
                self._connection = connect(self._settings, "kidjamo-ingest health")
                self._connection.autocommit = True
            with self._connection.cursor() as cursor:
                cursor.execute("SELECT 1")
        except psycopg2.Error as error:
            self.close()
            raise DatabaseUnavailable(type(error).__name__) from None

    def close(self) -> None:
        """Let go of the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
