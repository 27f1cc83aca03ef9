"""Storage of the cloud's alarms in PostgreSQL: one transaction per write, one connection.

States, the Kafka positions they include, notifications and applied acknowledgements change together: a
restart continues from the last transaction. A lease names the process that loaded the alarms last; only that
one may write, because two at work would send every notification twice.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import psycopg2
from psycopg2.extensions import cursor
from psycopg2.extras import execute_values

from cloud_ingest.alarms.acknowledgement import COLUMNS, Acknowledgement, of_row
from cloud_ingest.alarms.states import PATIENT, Key
from cloud_ingest.errors import LeaseLost
from cloud_ingest.kafka.record import TopicPartition
from cloud_ingest.postgres.connection import LastingConnection
from cloud_ingest.privacy import identities
from cloud_ingest.privacy.identities import Identities, IdentitiesChanged
from cloud_ingest.settings import Settings
from runtime.notification_queue import RETRY_FOR_S
from vitals.message import Message

APPLICATION = "kidjamo-alarms"
_LEASE: Key = ("owner", "alarms")
_NAMES_UNREADABLE = (
    psycopg2.errors.InsufficientPrivilege,
    psycopg2.errors.InvalidParameterValue,
    psycopg2.errors.UndefinedTable,
)
_STATES = """
    INSERT INTO alarm_states (kind, id, state) VALUES %s
    ON CONFLICT (kind, id) DO UPDATE SET state = excluded.state, updated_at = now()"""
_REMOVED = "DELETE FROM alarm_states s USING (VALUES %s) g (kind, id) WHERE s.kind = g.kind AND s.id = g.id"
_POSITIONS = """
    INSERT INTO alarm_positions (topic, partition, position) VALUES %s
    ON CONFLICT (topic, partition) DO UPDATE SET position = excluded.position"""
_NOTIFICATIONS = """
    INSERT INTO alarm_notifications (notification_id, contact, patient_id, about, message, at) VALUES %s
    ON CONFLICT DO NOTHING"""
_DELIVERED = """
    UPDATE alarm_notifications n SET told_at = t.told_at
    FROM (VALUES %s) t (id, contact, told_at) WHERE n.notification_id = t.id AND n.contact = t.contact"""
_APPLIED = """
    UPDATE alarm_acknowledgements a SET applied_at = now(), found = t.found
    FROM (VALUES %s) t (id, found) WHERE a.acknowledgement_id = t.id"""
_LAST_WRITE = "SELECT max(updated_at) FROM alarm_states WHERE kind IN ('owner', 'service')"
_UNAPPLIED = f"""
    SELECT {COLUMNS}, clock_timestamp() - at FROM alarm_acknowledgements
    WHERE applied_at IS NULL ORDER BY at"""
_UNDELIVERED = """
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
        """The gateway or contact it is about; None for a patient, whose name is never stored."""
        return None if self.message.patient_id else self.message.about


@dataclass(frozen=True, slots=True)
class DeliveredNotification:
    """A notification that the contact's service has accepted."""

    notification: Notification
    at: datetime


@dataclass(frozen=True, slots=True)
class UndeliveredNotification:
    """A stored notification that no process is known to have delivered.

    Attributes:
        about: as in `Notification`.
        message: as JSON, without the name of the patient.
    """

    notification_id: UUID
    contact: str
    patient_id: str | None
    about: str | None
    message: str


@dataclass(frozen=True, slots=True)
class AlarmTransaction:
    """What is written in one transaction.

    Attributes:
        removed: keys of states that no longer exist.
        positions: Kafka offsets up to which the states include all messages.
        applied: by acknowledgement, what it silenced.
        patients: every pseudonym that this transaction may name.
        identities: what the writer knows of replaced and erased pseudonyms.
    """

    states: Mapping[Key, str] = field(default_factory=dict)
    removed: Collection[Key] = ()
    positions: Mapping[TopicPartition, int] = field(default_factory=dict)
    notifications: Sequence[Notification] = ()
    delivered: Sequence[DeliveredNotification] = ()
    applied: Mapping[UUID, Sequence[str]] = field(default_factory=dict)
    patients: Collection[str] = ()
    identities: Identities = field(default_factory=Identities)

    def followed_by(self, later: AlarmTransaction) -> AlarmTransaction:
        """Return one transaction with the effect of both."""
        states = {key: state for key, state in self.states.items() if key not in later.removed}
        return AlarmTransaction(
            states={**states, **later.states},
            removed={key for key in self.removed if key not in later.states}.union(later.removed),
            positions={**self.positions, **later.positions},
            notifications=[*self.notifications, *later.notifications],
            delivered=[*self.delivered, *later.delivered],
            applied={**self.applied, **later.applied},
            patients=later.patients,
            identities=later.identities,
        )


@dataclass(frozen=True, slots=True)
class PersistedAlarms:
    """What a process loads when it starts.

    Attributes:
        positions: Kafka offsets to continue from.
        undelivered: notifications of the last 15 minutes.
        acknowledgements: those not applied yet.
        identities: replaced and erased pseudonyms among the states and acknowledgements.
    """

    states: Mapping[Key, str] = field(default_factory=dict)
    positions: Mapping[TopicPartition, int] = field(default_factory=dict)
    undelivered: Sequence[UndeliveredNotification] = ()
    acknowledgements: Sequence[Acknowledgement] = ()
    identities: Identities = field(default_factory=Identities)


class AlarmRepository:
    """The stored alarms. Every method may block on the network; use one thread at a time."""

    def __init__(self, settings: Settings) -> None:
        self._owner = str(uuid4())
        self._connection = LastingConnection(settings, APPLICATION)

    def load(self) -> PersistedAlarms:
        """Take the lease and return everything that is stored.

        Raises:
            DatabaseUnavailable: PostgreSQL does not answer, refuses, or has no such tables.
        """
        return self._connection.transact(lambda cur: _load(cur, self._owner))

    def write(self, transaction: AlarmTransaction) -> list[Acknowledgement]:
        """Write one transaction; return the acknowledgements that are not applied yet.

        Raises:
            DatabaseUnavailable: nothing may be assumed to be written.
            LeaseLost: another process has taken the lease; nothing is written.
            IdentitiesChanged: nothing is written; the states have to be adapted first.
        """
        return self._connection.transact(lambda cur: _write(cur, self._owner, transaction))

    def last_write(self) -> datetime | None:
        """Return when the owner of the lease last wrote, by the database's clock; does not take the lease.

        Raises:
            DatabaseUnavailable: PostgreSQL does not answer.
        """

        def read(cur: cursor) -> datetime | None:
            cur.execute(_LAST_WRITE)
            row: tuple[datetime | None] = cur.fetchone() or (None,)
            return row[0]

        return self._connection.transact(read)

    def names(self) -> dict[str, str]:
        """Return display names by pseudonym; none where this login may not read them.

        Raises:
            DatabaseUnavailable: PostgreSQL does not answer.
        """
        return self._connection.transact(_names)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


def _load(cur: cursor, owner: str) -> PersistedAlarms:
    execute_values(cur, _STATES, [(*_LEASE, json.dumps(owner))])
    cur.execute("SELECT kind, id, state::text FROM alarm_states")
    states = {(kind, identity): state for kind, identity, state in cur.fetchall()}
    cur.execute("SELECT topic, partition, position FROM alarm_positions")
    positions = {(topic, partition): position for topic, partition, position in cur.fetchall()}
    cur.execute(_UNDELIVERED, (timedelta(seconds=RETRY_FOR_S),))
    undelivered = [UndeliveredNotification(UUID(identity), *rest) for identity, *rest in cur.fetchall()]
    acknowledgements = _unapplied(cur)
    patients = {identity for kind, identity in states if kind == PATIENT}
    patients.update(each.patient_id for each in acknowledgements if each.patient_id)
    return PersistedAlarms(states, positions, undelivered, acknowledgements, identities.find(cur, patients))


def _write(cur: cursor, owner: str, transaction: AlarmTransaction) -> list[Acknowledgement]:
    cur.execute("SELECT state #>> '{}' FROM alarm_states WHERE kind = %s AND id = %s FOR SHARE", _LEASE)
    if cur.fetchone() != (owner,):
        raise LeaseLost("another alarms process has taken the lease")
    present = identities.find(cur, transaction.patients)
    if present != transaction.identities:
        raise IdentitiesChanged(present)
    if transaction.states:
        execute_values(cur, _STATES, [(*key, state) for key, state in sorted(transaction.states.items())])
    if transaction.removed:
        execute_values(cur, _REMOVED, sorted(transaction.removed))
    if transaction.positions:
        positions = [(*partition, offset) for partition, offset in sorted(transaction.positions.items())]
        execute_values(cur, _POSITIONS, positions)
    if notifications := list(_notification_rows(transaction)):
        execute_values(cur, _NOTIFICATIONS, notifications)
    if transaction.delivered:
        delivered = [
            (str(d.notification.notification_id), d.notification.contact, d.at) for d in transaction.delivered
        ]
        execute_values(cur, _DELIVERED, delivered, template="(%s::uuid, %s, %s)")
    if transaction.applied:
        applied = [(str(identity), list(silenced)) for identity, silenced in transaction.applied.items()]
        execute_values(cur, _APPLIED, applied, template="(%s::uuid, %s::text[])")
    return _unapplied(cur)


def _unapplied(cur: cursor) -> list[Acknowledgement]:
    """Return acknowledgements not applied yet, with times by this process's clock, not the database's."""
    now = datetime.now(UTC)
    cur.execute(_UNAPPLIED)
    return [of_row(tuple(row)).model_copy(update={"at": now - age}) for *row, age in cur.fetchall()]


def _notification_rows(transaction: AlarmTransaction) -> Iterator[tuple[object, ...]]:
    for each in transaction.notifications:
        message = each.message
        if patient_id := message.patient_id:
            message = dataclasses.replace(message, patient_id=transaction.identities.of(patient_id))
            if message.patient_id is None:
                continue
        yield (
            str(each.notification_id),
            each.contact,
            message.patient_id,
            each.about,
            message.to_json(),
            message.at,
        )


def _names(cur: cursor) -> dict[str, str]:
    try:
        cur.execute("SET LOCAL ROLE kidjamo_clinician")
        cur.execute("SELECT pseudonym, display_name FROM identity.patients")
        return dict(cur.fetchall())
    except _NAMES_UNREADABLE:
        cur.connection.rollback()
        return {}
