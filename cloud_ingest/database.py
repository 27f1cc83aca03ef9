"""Reaching PostgreSQL."""

from __future__ import annotations

from typing import Any

import psycopg2
from psycopg2.extensions import connection

from cloud_ingest.errors import DatabaseAway
from cloud_ingest.settings import Settings

DEFAULT_HOST = "127.0.0.1"


def connect(settings: Settings, application: str) -> connection:
    """A new connection, or an error within PGCONNECT_TIMEOUT.

    Raises:
        psycopg2.OperationalError: the server does not answer or refuses.
    """
    made: connection = psycopg2.connect(**parameters(settings), application_name=application)
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
            raise DatabaseAway(type(error).__name__) from None

    def close(self) -> None:
        """Let go of the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
