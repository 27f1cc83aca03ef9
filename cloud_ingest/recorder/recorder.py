"""Records Kafka's topics in PostgreSQL: consume a batch, insert it, commit the offsets.

Offsets are committed after the rows, and rows are unique by id: a crash between the two reads some values
again and changes nothing. While PostgreSQL is not available the batch is retried. An invalid value becomes a
dead letter on the errors topic; a dead letter that is itself unreadable becomes a row at once.
"""

from __future__ import annotations

import logging
import random
import threading
from collections import Counter, deque
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid5

import psycopg2
from confluent_kafka import Consumer, KafkaException, Message, Producer
from confluent_kafka import TopicPartition as KafkaTopicPartition
from psycopg2.extensions import connection, cursor
from psycopg2.extras import execute_values

from cloud_ingest.errors import DatabaseUnavailable, KafkaUnavailable, NotDurable
from cloud_ingest.kafka.admin import admin_client, create_topics, end_offsets
from cloud_ingest.kafka.dead_letter import dead_letter
from cloud_ingest.kafka.producer import producer_settings
from cloud_ingest.kafka.record import TopicPartition
from cloud_ingest.postgres.connection import connect, first_line
from cloud_ingest.postgres.migrations import migrate
from cloud_ingest.recorder.accounting import BatchOutcome, MessagePosition, account
from cloud_ingest.recorder.deduplication import rows_to_insert
from cloud_ingest.recorder.partitions import Partitions
from cloud_ingest.recorder.row_mapping import TABLES, Row, Table, error_row, row_of
from cloud_ingest.settings import Settings
from vitals.errors import InvalidReading
from vitals.pseudonym import ClearIdentifiers
from vitals.reading import NAMESPACE
from vitals.topics import ERRORS, KAFKA_TOPICS

log = logging.getLogger(__name__)

GROUP = "kidjamo-recorder"
BATCH = 500
POLL_S = 0.2
BACKOFF_S = (0.2, 5.0)
"""First and longest pause before a server is tried again, seconds."""
_RETRIED = (psycopg2.Error, DatabaseUnavailable, KafkaUnavailable, KafkaException, NotDurable)


@dataclass(frozen=True, slots=True)
class ParsedMessage:
    """A message and its row."""

    message: Message
    table: Table
    row: Row


@dataclass(slots=True)
class RecordBatch:
    """Messages read together, and what becomes of them.

    Attributes:
        rows: rows to insert.
        dead: positions of messages that became dead letters.
        heartbeats: positions of heartbeats, which have no row.
    """

    messages: Sequence[Message]
    rows: list[ParsedMessage] = field(default_factory=list)
    dead: set[MessagePosition] = field(default_factory=set)
    heartbeats: set[MessagePosition] = field(default_factory=set)


class Recorder:
    """Consumes and records until it is stopped.

    Args:
        stop: set from outside to end after the current batch.
    """

    def __init__(self, settings: Settings, stop: threading.Event) -> None:
        self._settings, self._stop = settings, stop
        self._database: connection | None = None
        self._partitions = Partitions(settings.pg_retention_months)
        self._producer = Producer(producer_settings(settings.kafka) | {"client.id": GROUP, "logger": log})

    def run(self) -> None:
        """Record until `stop` is set."""
        self._until_done("create topics", self._create_topics)
        self._until_done("migrate", lambda: migrate(self._settings))
        if self._stop.is_set():
            return
        consumer = Consumer(_consumer_settings(self._settings))
        consumer.subscribe(list(KAFKA_TOPICS))
        log.info("recording %s", ", ".join(KAFKA_TOPICS))
        try:
            while not self._stop.is_set():
                self._until_done("maintain partitions", self._upkeep)
                self._step(consumer)
        finally:
            consumer.close()
            if self._database is not None:
                self._database.close()

    def _create_topics(self) -> None:
        create_topics(admin_client(self._settings.kafka), 2.0)

    def _upkeep(self) -> None:
        self._partitions.upkeep(self._connected())

    def _connected(self) -> connection:
        if self._database is None:
            self._database = connect(self._settings, GROUP)
        return self._database

    def _step(self, consumer: Consumer) -> None:
        messages = [message for message in consumer.consume(BATCH, POLL_S) if not _is_error(message)]
        if not messages:
            return
        batch, todo = RecordBatch(messages), deque(messages)
        done = self._until_done("publish a dead letter", lambda: self._parse_all(todo, batch))
        if done and self._until_done("record", lambda: self._record(batch)):
            try:
                consumer.commit(offsets=_offsets(messages), asynchronous=False)
            except KafkaException as error:  # the rows are stored; they are read and ignored once more
                log.warning("offsets not committed: %s", error)

    def _parse_all(self, todo: deque[Message], batch: RecordBatch) -> None:
        """Parse what is left; each dead letter is published once, however often the rest is retried."""
        while todo:
            self._parse(todo[0], batch)
            todo.popleft()

    def _record(self, batch: RecordBatch) -> None:
        database = self._connected()
        self._partitions.ensure(database, [(each.table, each.row) for each in batch.rows])
        try:
            with database, database.cursor() as cur:
                self._account(cur, batch, _insert(cur, batch.rows))
        except (psycopg2.DataError, psycopg2.IntegrityError, ValueError) as error:
            log.warning("PostgreSQL refuses a row (%s): inserting one by one", type(error).__name__)
            self._record_singly(database, batch)

    def _record_singly(self, database: connection, batch: RecordBatch) -> None:
        inserted: Counter[str] = Counter()
        for each in batch.rows:
            try:
                with database, database.cursor() as cur:
                    inserted += _insert(cur, [each])
            except (psycopg2.DataError, psycopg2.IntegrityError, ValueError) as error:
                reason = f"PostgreSQL refuses the row: {type(error).__name__}"
                unreadable = self._reject(each.message, "", reason)
                if unreadable is None:
                    batch.dead.add(_position(each.message))
                else:
                    with database, database.cursor() as cur:
                        inserted += _insert(cur, [unreadable])
        with database, database.cursor() as cur:
            self._account(cur, batch, inserted)

    def _account(self, cur: cursor, batch: RecordBatch, inserted: Mapping[str, int]) -> None:
        outcome = BatchOutcome(
            read=[_position(message) for message in batch.messages],
            rows={_position(each.message) for each in batch.rows},
            dead=batch.dead,
            heartbeats=batch.heartbeats,
            inserted=inserted,
        )
        account(cur, outcome, self._end_offsets)

    def _end_offsets(self, partitions: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        return end_offsets(admin_client(self._settings.kafka), partitions, 2.0)

    def _parse(self, message: Message, batch: RecordBatch) -> None:
        table = TABLES[message.topic() or ""]
        try:
            row = row_of(table, message.value())
        except InvalidReading as error:
            if unreadable := self._reject(message, error.field, error.reason):
                batch.rows.append(unreadable)
            else:
                batch.dead.add(_position(message))
            return
        if row:
            batch.rows.append(ParsedMessage(message, table, row))
        else:
            batch.heartbeats.add(_position(message))

    def _reject(self, message: Message, field: str, reason: str) -> ParsedMessage | None:
        """Publish an invalid message as a dead letter; return the row of one that is a dead letter itself.

        Raises:
            NotDurable: Kafka did not acknowledge it.
        """
        where = f"{message.topic()}/{message.partition()}/{message.offset()}"
        log.warning("invalid message %s: %s", where, reason)
        error_id, now = uuid5(NAMESPACE, where), datetime.now(UTC)
        if message.topic() == ERRORS:
            row = error_row(error_id, now, f"unreadable dead letter: {field} {reason}", message.value())
            return ParsedMessage(message, TABLES[ERRORS], row)
        self._publish(error_id, now, message.value() or b"", field, f"{where}: {reason}")
        return None

    def _publish(self, error_id: UUID, now: datetime, original: bytes, field: str, reason: str) -> None:
        record = dead_letter(
            original, field, reason, now, ClearIdentifiers(), source="recorder", error_id=error_id
        )
        failures: list[Any] = ["no answer"]
        self._producer.produce(
            record.topic,
            record.value,
            record.key,
            on_delivery=lambda error, _: failures.__setitem__(slice(None), [error] if error else []),
        )
        self._producer.flush(5)
        if failures:
            raise NotDurable(f"Kafka did not acknowledge a dead letter: {failures[0]}")

    def _until_done(self, what: str, action: Callable[[], None]) -> bool:
        """Retry `action` with growing pauses until it succeeds; return False if stopped before."""
        pause, longest = BACKOFF_S
        failing = False
        while not self._stop.is_set():
            try:
                action()
            except _RETRIED as error:
                level = logging.DEBUG if failing else logging.WARNING
                log.log(level, "cannot %s, retrying: %s", what, first_line(error))
                self._disconnect()
                failing = True
                self._stop.wait(pause * random.uniform(0.5, 1.0))
                pause = min(2 * pause, longest)
            else:
                if failing:
                    log.info("%s: succeeded after retries", what)
                return True
        return False

    def _disconnect(self) -> None:
        if self._database is not None:
            self._database.close()
            self._database = None


def _consumer_settings(settings: Settings) -> dict[str, Any]:
    return {
        "bootstrap.servers": settings.kafka,
        "group.id": GROUP,
        "client.id": GROUP,
        "enable.auto.commit": False,
        "auto.offset.reset": settings.kafka_starting_offsets,
        "max.poll.interval.ms": 86_400_000,  # stay in the group during a long outage of the database
        "session.timeout.ms": 10_000,
        "reconnect.backoff.max.ms": 1000,
        "topic.metadata.refresh.interval.ms": 10_000,
        "allow.auto.create.topics": False,
        "log.connection.close": False,
        "log_level": 2,
        "logger": log,
    }


def _is_error(message: Message) -> bool:
    if error := message.error():
        log.debug("consumer: %s", error.str())
    return error is not None


def _offsets(messages: Sequence[Message]) -> Any:
    newest: dict[TopicPartition, int] = {}
    for message in messages:
        newest[message.topic() or "", message.partition() or 0] = (message.offset() or 0) + 1
    return [KafkaTopicPartition(topic, partition, offset) for (topic, partition), offset in newest.items()]


def _position(message: Message) -> MessagePosition:
    return MessagePosition(message.topic() or "", message.partition() or 0, message.offset() or 0)


def _insert(cur: cursor, parsed: Sequence[ParsedMessage]) -> Counter[str]:
    """Insert rows; return how many were new, by topic."""
    inserted: Counter[str] = Counter()
    for topic, table in TABLES.items():
        rows = [each.row for each in parsed if each.table is table]
        if rows and (rows := rows_to_insert(cur, table, rows)):
            execute_values(cur, table.insert, rows, page_size=len(rows))
            inserted[topic] = cur.rowcount
    return inserted
