"""A migrated database that each test fills and queries inside one transaction.

`now()` is constant inside a transaction, so ages are exact.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from psycopg2 import sql
from psycopg2.extensions import connection

from cloud_ingest.postgres.migrations import migrate
from cloud_ingest.settings import Settings
from dashboards import probe, render
from dashboards.sql import View, quoted
from deploy.local.postgres import Dsn, PostgresServer


@pytest.fixture(scope="session")
def dsn(postgres: PostgresServer) -> Dsn:
    """Create a database with our schema and no rows."""
    dsn = postgres.database("dashboards")
    migrate(Settings.from_environment(dsn.env()))
    return dsn


@dataclass
class WardDatabase:
    """One transaction: inserts rows and queries panels with the privileges of Grafana's role.

    Attributes:
        database: the connection.
        now: the transaction's time.
    """

    database: connection
    now: datetime

    def insert_reading(self, patient_id: str, age_s: float, **columns: Any) -> None:
        """Insert a reading of this age; by default it was recorded at once."""
        self._insert(
            "measurements",
            message_id=str(uuid4()),
            patient_id=patient_id,
            device_id="bracelet-1",
            timestamp=self.ago(age_s),
            **{"recorded_at": self.ago(max(age_s, 0))} | columns,
        )

    def insert_alert(self, patient_id: str, age_s: float, kind: str, message: str, **columns: Any) -> None:
        """Insert an alert of this age; by default it is critical."""
        self._insert(
            "alerts",
            alert_id=str(uuid4()),
            message_id=str(uuid4()),
            patient_id=patient_id,
            device_id="bracelet-1",
            timestamp=self.ago(age_s),
            type=kind,
            message=message,
            **{
                "recorded_at": self.ago(max(age_s, 0)),
                "severity": "CRITICAL",
                "message_fr": f"{message} (fr)",
            }
            | columns,
        )

    def insert_error(self, age_s: float, source: str) -> None:
        """Insert a dead letter."""
        self._insert(
            "ingestion_errors",
            error_id=str(uuid4()),
            timestamp=self.ago(age_s),
            source=source,
            reason="not JSON",
        )

    def ago(self, seconds: float) -> datetime:
        """Return a time before the transaction's time."""
        return self.now - timedelta(seconds=seconds)

    def rows(
        self,
        panel: str,
        *patients: str,
        language: str = "en",
        span: timedelta = timedelta(hours=3),
        interval: str = "10s",
    ) -> list[dict[str, Any]]:
        """Return the rows of the panel or variable with this title, for all children or the given ones."""
        board = json.loads(render.rendered()[f"ward-{language}.json"])
        (query,) = (query for query in probe.queries(board) if query.panel == panel)
        variables = {"patient": quoted(patients)} if patients else probe.everything(board)
        view = View(self.now - span, self.now, variables, interval)
        with self.database.cursor() as cursor:
            cursor.execute("SET LOCAL ROLE kidjamo_reader")
            result = probe.run(self.database, query, view)
            cursor.execute("RESET ROLE")
        assert result.error == ""
        return [dict(zip(result.columns, row, strict=True)) for row in result.rows]

    def _insert(self, table: str, **columns: Any) -> None:
        statement = sql.SQL("INSERT INTO {} ({}) VALUES ({})").format(
            sql.Identifier(table),
            sql.SQL(", ").join(map(sql.Identifier, columns)),
            sql.SQL(", ").join([sql.Placeholder()] * len(columns)),
        )
        with self.database.cursor() as cursor:
            cursor.execute(statement, list(columns.values()))


@pytest.fixture
def ward(dsn: Dsn) -> Iterator[WardDatabase]:
    """Yield an empty ward; the test's rows are rolled back."""
    database = dsn.connect()
    with database.cursor() as cursor:
        cursor.execute("SELECT now()")
        (now,) = cursor.fetchone() or (None,)
    assert isinstance(now, datetime)
    yield WardDatabase(database, now.astimezone(UTC))
    database.rollback()
    database.close()
