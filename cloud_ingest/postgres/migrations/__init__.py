"""The database schema, as a row of numbered steps (`versions/`), and how to bring a database up to date."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy
from alembic import command
from alembic.config import Config

from cloud_ingest.errors import DatabaseAway
from cloud_ingest.postgres.connection import DEFAULT_HOST
from cloud_ingest.settings import Settings
from vitals.limits import VITALS

_LOCK = 5_071_946_017
"""Advisory lock that lets one process migrate at a time."""


def migrate(settings: Settings, revision: str = "head") -> None:
    """Bring the database to a revision, the newest unless one is named; does nothing where it is past it.

    Raises:
        DatabaseAway: it does not answer, or refuses.
    """
    engine = sqlalchemy.create_engine(
        _url(settings),
        poolclass=sqlalchemy.NullPool,
        connect_args={
            "connect_timeout": settings.pg_connect_timeout,
            "application_name": "kidjamo-ingest migrate",
        },
    )
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    try:
        with engine.begin() as connection:
            connection.execute(sqlalchemy.text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
            config.attributes["connection"] = connection
            command.upgrade(config, revision)
            if revision == "head":
                _add_vital_columns(connection)
    except sqlalchemy.exc.SQLAlchemyError as error:
        raise DatabaseAway(f"{settings.pg_database}: {error}") from error


def _add_vital_columns(connection: sqlalchemy.Connection) -> None:
    """Add a column to `measurements` for each registered vital that has none; no lock if none is missing."""
    existing = {column["name"] for column in sqlalchemy.inspect(connection).get_columns("measurements")}
    for vital in VITALS:
        if vital.field not in existing:
            statement = f"ALTER TABLE measurements ADD COLUMN {vital.field} double precision"
            connection.execute(sqlalchemy.text(statement))


def _url(settings: Settings) -> sqlalchemy.URL:
    password = settings.pg_password
    return sqlalchemy.URL.create(
        "postgresql+psycopg2",
        username=settings.pg_user,
        password=password.get_secret_value() if password else None,
        host=settings.pg_host or DEFAULT_HOST,
        port=settings.pg_port,
        database=settings.pg_database,
    )
