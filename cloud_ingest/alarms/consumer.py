"""Consumes what the alarms need from Kafka: readings with their alerts, and heartbeats of gateways.

Consumption starts at the positions stored in PostgreSQL, else at the offsets committed to Kafka, else 15
minutes ago: older readings notify nobody. Partitions are assigned by hand, not by a consumer group: after a
restart the first message is read at once. The lease in PostgreSQL makes sure that one process works
(`repository`).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from confluent_kafka import Consumer, KafkaException, Message
from confluent_kafka import TopicPartition as KafkaTopicPartition
from pydantic import TypeAdapter, ValidationError

from cloud_ingest.kafka.messages import AlertValue
from cloud_ingest.kafka.record import TopicPartition
from cloud_ingest.settings import Settings
from vitals import rules
from vitals.errors import InvalidReading
from vitals.heartbeat import KIND, Heartbeat
from vitals.limits import FUTURE_TOLERANCE_S, NOTIFIED_UP_TO
from vitals.notices import GROUP_OF
from vitals.reading import Measurements, Reading, UtcTime, parse_json, parse_reading
from vitals.rules import Alert, AlertType
from vitals.topics import ALERTS, DEVICE_STATUS, MEASUREMENTS

log = logging.getLogger(__name__)

GROUP = "kidjamo-alarms"
BATCH = 500
POLL_S = 0.2
TOPICS = (MEASUREMENTS, ALERTS, DEVICE_STATUS)
_DISCOVER_EVERY_S, _DISCOVER_FIRST_EVERY_S, _TIMEOUT_S = 10.0, 1.0, 1.0
_utc = TypeAdapter(UtcTime).validate_python


@dataclass(frozen=True, slots=True)
class EvaluatedReading:
    """A reading and the alerts that the rules raise for it."""

    reading: Reading
    alerts: tuple[Alert, ...]


@dataclass(frozen=True, slots=True)
class ReceivedHeartbeat:
    """A heartbeat and when the API received it."""

    heartbeat: Heartbeat
    received: datetime


AlarmEvent = EvaluatedReading | ReceivedHeartbeat


class AlarmConsumer:
    """One Kafka consumer.

    Args:
        positions: the offsets to start at.

    Attributes:
        positions: the offsets to read next.
    """

    def __init__(self, settings: Settings, positions: Mapping[TopicPartition, int]) -> None:
        self.positions = dict(positions)
        self._consumer = Consumer(_settings(settings))
        self._assigned: set[TopicPartition] = set()
        self._discovered_at = 0.0

    def read(self) -> list[AlarmEvent]:
        """Return what has arrived; block for at most 0.2 s."""
        self._assign_new_partitions()
        events: list[AlarmEvent] = []
        for message in self._consumer.consume(BATCH, POLL_S):
            if error := message.error():
                log.debug("consumer: %s", error.str())
                continue
            events += _events(message)
            self.positions[message.topic() or "", message.partition() or 0] = (message.offset() or 0) + 1
        return events

    def commit(self, positions: Mapping[TopicPartition, int]) -> None:
        """Commit offsets to Kafka, so that its tools show the lag."""
        offsets: Any = [
            KafkaTopicPartition(topic, number, offset) for (topic, number), offset in positions.items()
        ]
        try:
            self._consumer.commit(offsets=offsets, asynchronous=True)
        except KafkaException as error:  # not needed for a restart: the database is authoritative
            log.debug("offsets not committed: %s", error)

    def close(self) -> None:
        """Close the consumer."""
        self._consumer.close()

    def _assign_new_partitions(self) -> None:
        interval = _DISCOVER_EVERY_S if self._assigned else _DISCOVER_FIRST_EVERY_S
        if time.monotonic() - self._discovered_at < interval:
            return
        self._discovered_at = time.monotonic()
        try:
            metadata = self._consumer.list_topics(timeout=_TIMEOUT_S).topics
            present = {
                (topic, number)
                for topic in TOPICS
                if topic in metadata
                for number in metadata[topic].partitions
            }
            if new := present - self._assigned:
                self.positions = _first_offsets(self._consumer, new) | self.positions
                wanted = present | self._assigned
                self._consumer.assign([KafkaTopicPartition(t, n, self.positions[t, n]) for t, n in wanted])
                self._assigned = wanted
                log.info("reading %d partitions", len(wanted))
        except KafkaException as error:
            log.debug("partitions unknown: %s", error)


def _first_offsets(consumer: Consumer, partitions: set[TopicPartition]) -> dict[TopicPartition, int]:
    """Return where to start on partitions without a position; messages that arrive meanwhile are included.

    Raises:
        KafkaException: Kafka does not answer.
    """
    recent_ms = int((datetime.now(UTC) - NOTIFIED_UP_TO).timestamp() * 1000)
    offsets = {}
    wanted = [KafkaTopicPartition(topic, number) for topic, number in partitions]
    for committed in consumer.committed(wanted, timeout=_TIMEOUT_S):
        topic, number, offset = committed.topic, committed.partition, committed.offset
        if offset < 0:
            _, end = consumer.get_watermark_offsets(committed, timeout=_TIMEOUT_S)
            at_time = KafkaTopicPartition(topic, number, recent_ms)
            (recent,) = consumer.offsets_for_times([at_time], _TIMEOUT_S)
            offset = int(end) if recent.offset < 0 else recent.offset
        offsets[topic, number] = offset
    return offsets


def _events(message: Message) -> Iterator[AlarmEvent]:
    """Yield the event in a message; the recorder makes a dead letter of one that cannot be read."""
    try:
        document = parse_json(message.value() or b"")
        if message.topic() == MEASUREMENTS:
            reading = parse_reading(document)
            yield EvaluatedReading(reading, rules.evaluate(reading))
        elif message.topic() == ALERTS:
            yield from _quarantined(document)
        elif isinstance(document, dict) and document.get("kind") == KIND:
            received = _utc(document.get("ingestion_timestamp"))
            yield ReceivedHeartbeat(Heartbeat.model_validate(document), received)
    except (InvalidReading, ValidationError) as error:
        log.warning("%s/%s cannot be read: %s", message.topic(), message.offset(), type(error).__name__)


def _quarantined(document: object) -> Iterator[AlarmEvent]:
    """Yield the critical alert of a reading quarantined for a timestamp far ahead: it counts as live."""
    alert = AlertValue.model_validate(document)
    received = alert.ingestion_timestamp
    if received is None or alert.timestamp - received <= timedelta(seconds=FUTURE_TOLERANCE_S):
        return
    if alert.type not in GROUP_OF or alert.value is None:
        return
    values = Measurements.model_validate({GROUP_OF[AlertType(alert.type)].fields[0]: alert.value})
    reading = Reading(
        patient_id=alert.patient_id,
        device_id=alert.device_id,
        timestamp=received,
        measurements=values,
        message_id=alert.alert_id,
    )
    yield EvaluatedReading(reading, (Alert.model_validate(document),))


def _settings(settings: Settings) -> dict[str, Any]:
    return {
        "bootstrap.servers": settings.kafka,
        "group.id": GROUP,
        "client.id": GROUP,
        "enable.auto.commit": False,
        "auto.offset.reset": "earliest",
        "reconnect.backoff.max.ms": 1000,
        "allow.auto.create.topics": False,
        "log.connection.close": False,
        "queued.max.messages.kbytes": 16_384,
        "log_level": 2,
        "logger": log,
    }
