"""What the cloud's alarms hear from Kafka: readings with their alerts, and gateways' heartbeats.

It goes on from the positions the alarm book holds. A partition it has no position for is read from 15 minutes
ago on: what is older wakes nobody. There is one alarms process: a second one takes the first one's place
(static group membership), which also makes a restart quick.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from confluent_kafka import OFFSET_END, Consumer, KafkaError, KafkaException, Message, TopicPartition
from pydantic import TypeAdapter, ValidationError

from cloud_ingest.errors import TakenOver
from cloud_ingest.rows import AlertValue
from cloud_ingest.settings import Settings
from vitals import rules
from vitals.episodes import NOTIFIED_UP_TO
from vitals.errors import InvalidReading
from vitals.heartbeat import KIND, Heartbeat
from vitals.limits import FUTURE_TOLERANCE_S, HEART_RATE, SPO2, TEMPERATURE
from vitals.notices import GROUP_OF
from vitals.reading import Measurements, Reading, UtcTime, parse_json, parse_reading
from vitals.rules import Alert, AlertType
from vitals.topics import ALERTS, DEVICE_STATUS, MEASUREMENTS

log = logging.getLogger(__name__)

GROUP = "kidjamo-alarms"
BATCH = 500
POLL_S = 0.2
TOPICS = (MEASUREMENTS, ALERTS, DEVICE_STATUS)
_FIELD = {
    AlertType.CRITICAL_SPO2: SPO2.field,
    AlertType.CRITICAL_TEMPERATURE: TEMPERATURE.field,
    AlertType.CRITICAL_HEART_RATE: HEART_RATE.field,
    AlertType.CRITICAL_FEVER_SPO2: SPO2.field,
}
_TAKEN_OVER = {KafkaError.FENCED_INSTANCE_ID, KafkaError._FATAL}
_utc = TypeAdapter(UtcTime).validate_python


@dataclass(frozen=True, slots=True)
class Observation:
    """A reading and what the rules say of it."""

    reading: Reading
    alerts: tuple[Alert, ...]


@dataclass(frozen=True, slots=True)
class SignOfLife:
    """A heartbeat and when the API took it."""

    heartbeat: Heartbeat
    heard: datetime


Heard = Observation | SignOfLife


class Feed:
    """One consumer.

    Args:
        positions: where to go on, by topic and partition.

    Attributes:
        positions: up to where it has been read.
    """

    def __init__(self, settings: Settings, positions: Mapping[tuple[str, int], int]) -> None:
        self.positions = dict(positions)
        self._consumer = Consumer(_settings(settings))
        self._consumer.subscribe(list(TOPICS), on_assign=self._on_assign)

    def read(self) -> list[Heard]:
        """What has come, after at most a fifth of a second; blocks.

        Raises:
            TakenOver: another process has taken this one's place.
        """
        heard: list[Heard] = []
        for message in self._consumer.consume(BATCH, POLL_S):
            if error := message.error():
                _judge(error)
                continue
            heard += _heard(message)
            self.positions[message.topic() or "", message.partition() or 0] = (message.offset() or 0) + 1
        return heard

    def commit(self, positions: Mapping[tuple[str, int], int]) -> None:
        """Tell Kafka up to where all is kept, for whoever watches the lag."""
        offsets: Any = [TopicPartition(topic, number, at) for (topic, number), at in positions.items()]
        try:
            self._consumer.commit(offsets=offsets, asynchronous=True)
        except KafkaException as error:  # the book knows better
            log.debug("offsets not committed: %s", error)

    def close(self) -> None:
        """Leave."""
        self._consumer.close()

    def _on_assign(self, consumer: Consumer, assigned: list[TopicPartition]) -> None:
        for place in assigned:
            at = self.positions.get((place.topic, place.partition))
            place.offset = _start(consumer, place) if at is None else at
        consumer.assign(assigned)
        log.info("hears %d partitions", len(assigned))


def _start(consumer: Consumer, place: TopicPartition) -> int:
    """Where to begin on a partition without a position; what comes in meanwhile is not passed over."""
    recently = int((datetime.now(UTC) - NOTIFIED_UP_TO).timestamp() * 1000)
    try:
        _, end = consumer.get_watermark_offsets(place, timeout=5)
        (found,) = consumer.offsets_for_times([TopicPartition(place.topic, place.partition, recently)], 5)
    except KafkaException as error:  # then from where Kafka says that was committed
        log.warning("no position by time: %s", error)
        return place.offset
    return int(end) if found.offset == OFFSET_END else found.offset


def _heard(message: Message) -> Iterator[Heard]:
    """What a message says to alarms; what cannot be read is the recorder's to keep."""
    try:
        document = parse_json(message.value() or b"")
        if message.topic() == MEASUREMENTS:
            reading = parse_reading(document)
            yield Observation(reading, rules.evaluate(reading))
        elif message.topic() == ALERTS:
            yield from _quarantined(document)
        elif isinstance(document, dict) and document.get("kind") == KIND:
            yield SignOfLife(Heartbeat.model_validate(document), _utc(document.get("ingestion_timestamp")))
    except (InvalidReading, ValidationError) as error:
        log.warning("%s/%s cannot be read: %s", message.topic(), message.offset(), type(error).__name__)


def _quarantined(document: object) -> Iterator[Heard]:
    """A critical alert of a reading that is no measurement, because its clock is far ahead: it counts now."""
    alert = AlertValue.model_validate(document)
    arrived = alert.ingestion_timestamp
    if arrived is None or alert.timestamp - arrived <= timedelta(seconds=FUTURE_TOLERANCE_S):
        return
    if alert.type not in GROUP_OF or alert.value is None:
        return
    kind = AlertType(alert.type)
    values = Measurements.model_validate({_FIELD[kind]: alert.value})
    reading = Reading(
        patient_id=alert.patient_id, device_id=alert.device_id, timestamp=arrived, measurements=values
    )
    yield Observation(reading, (Alert.model_validate(document),))


def _judge(error: KafkaError) -> None:
    if error.code() in _TAKEN_OVER:
        raise TakenOver("another alarms process has taken over; run only one")
    log.debug("consumer: %s", error.str())


def _settings(settings: Settings) -> dict[str, Any]:
    return {
        "bootstrap.servers": settings.kafka,
        "group.id": GROUP,
        "group.instance.id": GROUP,
        "client.id": GROUP,
        "enable.auto.commit": False,
        "auto.offset.reset": "earliest",
        "session.timeout.ms": 10_000,
        "reconnect.backoff.max.ms": 1000,
        "topic.metadata.refresh.interval.ms": 5_000,
        "allow.auto.create.topics": False,
        "log.connection.close": False,
        "queued.max.messages.kbytes": 16_384,
        "log_level": 2,
        "logger": log,
    }
