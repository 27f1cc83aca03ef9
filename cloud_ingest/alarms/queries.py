"""The alarms as the API sees them: what stands, and acknowledgements for the alarms process to take up."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from functools import partial
from typing import TypeVar
from uuid import UUID

import psycopg2
from psycopg2.extensions import connection, cursor

from cloud_ingest.alarms.acknowledgement import COLUMNS, Acknowledgement, of_row
from cloud_ingest.alarms.coordinator import CHILD, GATEWAY, SERVICE, Child
from cloud_ingest.alarms.coverage import Gateway
from cloud_ingest.errors import DatabaseUnavailable
from cloud_ingest.metrics.probes import Probe
from cloud_ingest.postgres.connection import Questions, connect
from cloud_ingest.settings import Settings
from vitals.conditions import Conditions
from vitals.notices import Group

T = TypeVar("T")
_WITHIN_S = 3.0
_OPEN = """
    SELECT kind, id, state::text, updated_at FROM alarm_states
    WHERE kind <> 'child' OR jsonb_path_exists(state, '$.episodes.episodes.*.phase ? (@ != "NORMAL")')
    ORDER BY kind, id"""
_ADD = """
    INSERT INTO alarm_acknowledgements (patient_id, condition, alarm_group, silence_s, retires, by)
    VALUES (%s, %s, %s, %s, %s, %s) RETURNING acknowledgement_id"""
_RECENT = f"""
    SELECT {COLUMNS} FROM alarm_acknowledgements
    WHERE patient_id = ANY(%s) AND at > now() - interval '30 minutes' ORDER BY at"""
_KNOWN = "SELECT EXISTS (SELECT FROM alarm_states WHERE kind = 'child' AND id = %s)"
_STANDS = "SELECT EXISTS (SELECT FROM alarm_states WHERE kind = 'service' AND state->'standing' ? %s)"


class Present:
    """What stands.

    Attributes:
        as_of: when the alarms process last said so; None where it never ran.
    """

    def __init__(self, rows: Iterable[tuple[str, str, str, datetime]]) -> None:
        self.children: dict[str, Child] = {}
        self.gateways: dict[str, Gateway] = {}
        self.conditions = Conditions()
        self.as_of: datetime | None = None
        for kind, identity, state, updated in rows:
            if kind == CHILD:
                self.children[identity] = Child.model_validate_json(state)
            elif kind == GATEWAY:
                self.gateways[identity] = Gateway.model_validate_json(state)
            elif kind == SERVICE:
                self.conditions, self.as_of = Conditions.model_validate_json(state), updated


class AlarmRegister:
    """Reads states and writes acknowledgements, over one lasting connection that its thread has to itself.

    Every method raises DatabaseUnavailable within three seconds where PostgreSQL does not answer.

    Args:
        database: what knows whether it is there; None where none is configured.
    """

    def __init__(self, settings: Settings, database: Probe | None) -> None:
        self._settings, self._database = settings, database
        self._connection: connection | None = None
        self._questions = Questions("alarm-register", _WITHIN_S)

    async def present(self) -> Present:
        """What stands now."""

        def work(cur: cursor) -> Present:
            cur.execute(_OPEN)
            return Present(cur.fetchall())

        return await self._do(work)

    async def acknowledge_child(
        self, patient_id: str, by: str, group: Group | None, silence_s: int | None
    ) -> UUID | None:
        """Write down that somebody has seen a child's alarms; None where nobody knows such a child."""
        return await self._add(_KNOWN, patient_id, (patient_id, None, group, silence_s, False, by))

    async def acknowledge_condition(self, key: str, by: str, retires: bool) -> UUID | None:
        """Write down that somebody has seen a technical condition; None where it does not stand.

        Args:
            retires: whether its gateway is out of service.
        """
        return await self._add(_STANDS, key, (None, key, None, None, retires, by))

    async def recent(self, patients: Iterable[str]) -> list[Acknowledgement]:
        """Acknowledgements of these children that may still silence something."""

        def work(cur: cursor) -> list[Acknowledgement]:
            cur.execute(_RECENT, (list(patients),))
            return [of_row(row) for row in cur.fetchall()]

        return await self._do(work)

    async def _add(self, known: str, what: str, row: tuple[object, ...]) -> UUID | None:
        def work(cur: cursor) -> UUID | None:
            cur.execute(known, (what,))
            if cur.fetchone() != (True,):
                return None
            cur.execute(_ADD, row)
            (identity,) = cur.fetchone() or (None,)
            return UUID(identity)

        return await self._do(work)

    def close(self) -> None:
        """Let go of the connection, once it is free."""
        self._questions.close(self._let_go)

    async def _do(self, work: Callable[[cursor], T]) -> T:
        if self._database is None:
            raise DatabaseUnavailable("alarms need PostgreSQL: PGHOST is not set")
        if not self._database.up:
            raise DatabaseUnavailable("PostgreSQL does not answer")
        return await self._questions.ask(partial(self._work, work))

    def _work(self, work: Callable[[cursor], T]) -> T:
        try:
            if self._connection is None:
                self._connection = connect(self._settings, "kidjamo-ingest alarms", _WITHIN_S)
            with self._connection, self._connection.cursor() as cur:
                return work(cur)
        except psycopg2.Error as error:
            self._let_go()
            raise DatabaseUnavailable(f"PostgreSQL: {type(error).__name__}") from error

    def _let_go(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
