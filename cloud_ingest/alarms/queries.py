"""The alarms as the API reads them, and acknowledgements for the alarms process to apply."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from functools import partial
from typing import TypeVar
from uuid import UUID

from psycopg2.extensions import cursor

from cloud_ingest.alarms.acknowledgement import COLUMNS, Acknowledgement, of_row
from cloud_ingest.alarms.coverage import KnownGateway
from cloud_ingest.alarms.states import GATEWAY, PATIENT, SERVICE, PatientAlarms
from cloud_ingest.errors import DatabaseUnavailable
from cloud_ingest.metrics.probes import Probe
from cloud_ingest.postgres.connection import DbExecutor, LastingConnection
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
_PATIENT_EXISTS = "SELECT EXISTS (SELECT FROM alarm_states WHERE kind = 'child' AND id = %s)"
_CONDITION_EXISTS = (
    "SELECT EXISTS (SELECT FROM alarm_states WHERE kind = 'service' AND state->'standing' ? %s)"
)


class AlarmSnapshot:
    """Open alarms, gateways and conditions, as the alarms process stored them last.

    Attributes:
        as_of: when the alarms process last stored its state; None where it never ran.
    """

    def __init__(self, rows: Iterable[tuple[str, str, str, datetime]]) -> None:
        self.patients: dict[str, PatientAlarms] = {}
        self.gateways: dict[str, KnownGateway] = {}
        self.conditions = Conditions()
        self.as_of: datetime | None = None
        for kind, identity, state, updated in rows:
            if kind == PATIENT:
                self.patients[identity] = PatientAlarms.model_validate_json(state)
            elif kind == GATEWAY:
                self.gateways[identity] = KnownGateway.model_validate_json(state)
            elif kind == SERVICE:
                self.conditions, self.as_of = Conditions.model_validate_json(state), updated


class AlarmQueries:
    """Reads states and stores acknowledgements, over one connection used by one thread.

    Every method raises DatabaseUnavailable within three seconds if PostgreSQL does not answer.

    Args:
        database: probe of PostgreSQL; None where none is configured.
    """

    def __init__(self, settings: Settings, database: Probe | None) -> None:
        self._database = database
        self._connection = LastingConnection(settings, "kidjamo-ingest alarms", _WITHIN_S)
        self._executor = DbExecutor("alarm-queries", _WITHIN_S)

    async def snapshot(self) -> AlarmSnapshot:
        """Return what is open now."""

        def read(cur: cursor) -> AlarmSnapshot:
            cur.execute(_OPEN)
            return AlarmSnapshot(cur.fetchall())

        return await self._transact(read)

    async def acknowledge_patient(
        self, patient_id: str, by: str, group: Group | None, silence_s: int | None
    ) -> UUID | None:
        """Store an acknowledgement of a patient's alarms; return None for an unknown patient."""
        return await self._add(_PATIENT_EXISTS, patient_id, (patient_id, None, group, silence_s, False, by))

    async def acknowledge_condition(self, key: str, by: str, retires: bool) -> UUID | None:
        """Store an acknowledgement of a technical condition; return None where it is not present.

        Args:
            retires: whether the gateway of the condition is out of service.
        """
        return await self._add(_CONDITION_EXISTS, key, (None, key, None, None, retires, by))

    async def recent(self, patients: Iterable[str]) -> list[Acknowledgement]:
        """Return acknowledgements of these patients that may still silence something."""

        def read(cur: cursor) -> list[Acknowledgement]:
            cur.execute(_RECENT, (list(patients),))
            return [of_row(row) for row in cur.fetchall()]

        return await self._transact(read)

    async def _add(self, exists: str, key: str, row: tuple[object, ...]) -> UUID | None:
        def add(cur: cursor) -> UUID | None:
            cur.execute(exists, (key,))
            if cur.fetchone() != (True,):
                return None
            cur.execute(_ADD, row)
            (identity,) = cur.fetchone() or (None,)
            return UUID(identity)

        return await self._transact(add)

    def close(self) -> None:
        """Close the connection, once it is free."""
        self._executor.close(self._connection.close)

    async def _transact(self, work: Callable[[cursor], T]) -> T:
        if self._database is None:
            raise DatabaseUnavailable("alarms need PostgreSQL: PGHOST is not set")
        if not self._database.up:
            raise DatabaseUnavailable("PostgreSQL does not answer")
        return await self._executor.run(partial(self._connection.transact, work))
