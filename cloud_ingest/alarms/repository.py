"""Where the cloud's alarms are kept: PostgreSQL, one transaction a step, one connection.

States, the position in Kafka up to which they are true, what is to be said and what became of
acknowledgements change together: a restart goes on exactly where the last transaction left off. The book has
one owner, the process that took it last: two would wake people twice.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import TypeVar
from uuid import UUID, uuid4

import psycopg2
from psycopg2.extensions import connection, cursor
from psycopg2.extras import execute_values

from cloud_ingest.alarms.acknowledgement import COLUMNS, Acknowledgement, of_row
from cloud_ingest.alarms.coordinator import Key
from cloud_ingest.errors import DatabaseAway, TakenOver
from cloud_ingest.postgres.connection import connect
from cloud_ingest.privacy import identities
from cloud_ingest.privacy.identities import Identities, IdentitiesChanged
from cloud_ingest.settings import Settings
from runtime.notification_queue import RETRY_FOR_S
from vitals.message import Message

APPLICATION = "kidjamo-alarms"
T = TypeVar("T")
_OWNER: Key = ("owner", "alarms")
Position = tuple[str, int]
"""Topic and partition."""
_NO_NAMES = (
    psycopg2.errors.InsufficientPrivilege,
    psycopg2.errors.InvalidParameterValue,
    psycopg2.errors.UndefinedTable,
)
_STATES = """
    INSERT INTO alarm_states (kind, id, state) VALUES %s
    ON CONFLICT (kind, id) DO UPDATE SET state = excluded.state, updated_at = now()"""
_GONE = "DELETE FROM alarm_states s USING (VALUES %s) g (kind, id) WHERE s.kind = g.kind AND s.id = g.id"
_POSITIONS = """
    INSERT INTO alarm_positions (topic, partition, position) VALUES %s
    ON CONFLICT (topic, partition) DO UPDATE SET position = excluded.position"""
_NOTIFICATIONS = """
    INSERT INTO alarm_notifications (notification_id, contact, patient_id, about, message, at) VALUES %s
    ON CONFLICT DO NOTHING"""
_TOLD = """
    UPDATE alarm_notifications n SET told_at = t.told_at
    FROM (VALUES %s) t (id, contact, told_at) WHERE n.notification_id = t.id AND n.contact = t.contact"""
_APPLIED = """
    UPDATE alarm_acknowledgements a SET applied_at = now(), found = t.found
    FROM (VALUES %s) t (id, found) WHERE a.acknowledgement_id = t.id"""
_SIGN_OF_LIFE = "SELECT max(updated_at) FROM alarm_states WHERE kind IN ('owner', 'service')"
_NEW = f"""
    SELECT {COLUMNS}, clock_timestamp() - at FROM alarm_acknowledgements
    WHERE applied_at IS NULL ORDER BY at"""
_WAITING = """
    SELECT notification_id, contact, patient_id, about, message::text FROM alarm_notifications
    WHERE told_at IS NULL AND at > now() - %s ORDER BY at"""


@dataclass(frozen=True, slots=True)
class Notification:
    """One message for one contact."""

    contact: str
    message: Message
    notification_id: UUID = field(default_factory=uuid4)

    @property
    def about(self) -> str | None:
        """Whom it is about where that is no child; a child's name is never kept."""
        return None if self.message.patient_id else self.message.about


@dataclass(frozen=True, slots=True)
class Told:
    """A notification that its contact's service has taken."""

    notification: Notification
    at: datetime


@dataclass(frozen=True, slots=True)
class Entry:
    """What is kept in one step.

    Attributes:
        gone: keys of states that are no more.
        applied: by acknowledgement, what was open of it.
        patients: all it may speak of.
        identities: what the writer knows of them.
    """

    states: Mapping[Key, str] = field(default_factory=dict)
    gone: Collection[Key] = ()
    positions: Mapping[Position, int] = field(default_factory=dict)
    notifications: Sequence[Notification] = ()
    told: Sequence[Told] = ()
    applied: Mapping[UUID, Sequence[str]] = field(default_factory=dict)
    patients: Collection[str] = ()
    identities: Identities = field(default_factory=Identities)


@dataclass(frozen=True, slots=True)
class Kept:
    """What a process finds at its start.

    Attributes:
        waiting: notifications nobody was told of: identity, contact, patient, about, message as JSON.
        new: acknowledgements that were not applied yet.
    """

    states: Mapping[Key, str]
    positions: Mapping[Position, int]
    waiting: Sequence[tuple[str, str, str | None, str | None, str]]
    new: Sequence[Acknowledgement]


class AlarmBook:
    """The book; every method may wait for the network and is for one thread at a time."""

    def __init__(self, settings: Settings) -> None:
        self._settings, self._owner = settings, str(uuid4())
        self._database: connection | None = None

    def recall(self) -> Kept:
        """All that was kept; from now on the book is this process's.

        Raises:
            DatabaseAway: it does not answer, refuses, or has no such tables.
        """
        return self._do(lambda cur: _recall(cur, self._owner))

    def keep(self, entry: Entry) -> list[Acknowledgement]:
        """Keep one step; returns acknowledgements that were not applied yet.

        Raises:
            DatabaseAway: nothing of it may be taken as kept.
            TakenOver: another process has taken the book since.
            IdentitiesChanged: nothing is kept; the step must be made anew with what it says.
        """
        return self._do(lambda cur: _keep(cur, self._owner, entry))

    def sign_of_life(self) -> datetime | None:
        """When the book's owner last took it or kept something, by the database's clock; takes nothing.

        Raises:
            DatabaseAway: it does not answer.
        """

        def work(cur: cursor) -> datetime | None:
            cur.execute(_SIGN_OF_LIFE)
            found: tuple[datetime | None] = cur.fetchone() or (None,)
            return found[0]

        return self._do(work)

    def names(self) -> dict[str, str]:
        """Display names by pseudonym; none where this login may not know them.

        Raises:
            DatabaseAway: it does not answer.
        """
        try:
            return self._do(_names)
        except DatabaseAway as error:
            if isinstance(error.__cause__, _NO_NAMES):
                return {}
            raise

    def close(self) -> None:
        """Let go of the connection."""
        if self._database is not None:
            self._database.close()
            self._database = None

    def _do(self, work: Callable[[cursor], T]) -> T:
        try:
            if self._database is None:
                self._database = connect(self._settings, APPLICATION)
            with self._database, self._database.cursor() as cur:
                return work(cur)
        except (psycopg2.Error, ValueError) as error:  # ValueError: a text that PostgreSQL cannot hold
            self.close()
            raise DatabaseAway(f"{type(error).__name__}: {first_line(error)}") from error


def first_line(error: Exception) -> str:
    """What libpq says of an error, without its details."""
    return (str(error).strip().splitlines() or ["no reason given"])[0]


def _recall(cur: cursor, owner: str) -> Kept:
    execute_values(cur, _STATES, [(*_OWNER, json.dumps(owner))])
    cur.execute("SELECT kind, id, state::text FROM alarm_states")
    states = {(kind, identity): state for kind, identity, state in cur.fetchall()}
    cur.execute("SELECT topic, partition, position FROM alarm_positions")
    positions = {(topic, partition): position for topic, partition, position in cur.fetchall()}
    cur.execute(_WAITING, (timedelta(seconds=RETRY_FOR_S),))
    return Kept(states, positions, cur.fetchall(), _new(cur))


def _keep(cur: cursor, owner: str, entry: Entry) -> list[Acknowledgement]:
    cur.execute("SELECT state #>> '{}' FROM alarm_states WHERE kind = %s AND id = %s FOR SHARE", _OWNER)
    if cur.fetchone() != (owner,):
        raise TakenOver("another alarms process has taken over")
    present = identities.find(cur, entry.patients)
    if present != entry.identities:
        raise IdentitiesChanged(present)
    if entry.states:
        execute_values(cur, _STATES, [(*key, state) for key, state in sorted(entry.states.items())])
    if entry.gone:
        execute_values(cur, _GONE, sorted(entry.gone))
    if entry.positions:
        execute_values(cur, _POSITIONS, [(*place, at) for place, at in sorted(entry.positions.items())])
    if notifications := list(_rows(entry)):
        execute_values(cur, _NOTIFICATIONS, notifications)
    if entry.told:
        rows = [(str(t.notification.notification_id), t.notification.contact, t.at) for t in entry.told]
        execute_values(cur, _TOLD, rows, template="(%s::uuid, %s, %s)")
    if entry.applied:
        found = [(str(identity), list(groups)) for identity, groups in entry.applied.items()]
        execute_values(cur, _APPLIED, found, template="(%s::uuid, %s::text[])")
    return _new(cur)


def _new(cur: cursor) -> list[Acknowledgement]:
    """Acknowledgements not applied yet, their time by this process's clock: the database's may differ."""
    asked = datetime.now(UTC)
    cur.execute(_NEW)
    return [of_row(tuple(row)).model_copy(update={"at": asked - age}) for *row, age in cur.fetchall()]


def _rows(entry: Entry) -> Iterator[tuple[object, ...]]:
    for each in entry.notifications:
        said = each.message
        if patient_id := said.patient_id:
            said = replace(said, patient_id=entry.identities.of(patient_id))
            if said.patient_id is None:
                continue
        yield str(each.notification_id), each.contact, said.patient_id, each.about, said.to_json(), said.at


def _names(cur: cursor) -> dict[str, str]:
    cur.execute("SET LOCAL ROLE kidjamo_clinician")
    cur.execute("SELECT pseudonym, display_name FROM identity.patients")
    return dict(cur.fetchall())
