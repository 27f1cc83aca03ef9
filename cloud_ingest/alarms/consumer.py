"""What the cloud's alarms hear from Kafka: readings with their alerts, and gateways' heartbeats.

It goes on from the positions the alarm book holds; where that has none, from those Kafka was told of, else
from 15 minutes ago: what is older wakes nobody. Partitions are taken, not assigned by a group: a restart
hears at once, and a broker's restart costs no membership. That one process runs is the book's affair.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from confluent_kafka import Consumer, KafkaException, Message, TopicPartition
from pydantic import TypeAdapter, ValidationError

from cloud_ingest.kafka.messages import AlertValue
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
_LOOK_EVERY_S, _LOOK_FIRST_EVERY_S, _ANSWER_S = 10.0, 1.0, 1.0
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
        self._taken: set[tuple[str, int]] = set()
        self._looked = 0.0

    def read(self) -> list[Heard]:
        """What has come, after at most a fifth of a second; blocks."""
        self._take_partitions()
        heard: list[Heard] = []
        for message in self._consumer.consume(BATCH, POLL_S):
            if error := message.error():
                log.debug("consumer: %s", error.str())
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

    def _take_partitions(self) -> None:
        """Look from time to time whether there are partitions that are not read yet."""
        if time.monotonic() - self._looked < (_LOOK_EVERY_S if self._taken else _LOOK_FIRST_EVERY_S):
            return
        self._looked = time.monotonic()
        try:
            known = self._consumer.list_topics(timeout=_ANSWER_S).topics
            there = {
                (topic, number) for topic in TOPICS if topic in known for number in known[topic].partitions
            }
            if new := there - self._taken:
                self.positions = _starts(self._consumer, new) | self.positions
                places = there | self._taken
                self._consumer.assign([TopicPartition(t, n, self.positions[t, n]) for t, n in places])
                self._taken = places
                log.info("hears %d partitions", len(places))
        except KafkaException as error:
            log.debug("partitions unknown: %s", error)


def _starts(consumer: Consumer, places: set[tuple[str, int]]) -> dict[tuple[str, int], int]:
    """Where to begin on partitions without a position; what comes in meanwhile is not passed over.

    Raises:
        KafkaException: Kafka does not say.
    """
    recently = int((datetime.now(UTC) - NOTIFIED_UP_TO).timestamp() * 1000)
    starts = {}
    wanted = [TopicPartition(topic, number) for topic, number in places]
    for committed in consumer.committed(wanted, timeout=_ANSWER_S):
        topic, number, at = committed.topic, committed.partition, committed.offset
        if at < 0:
            _, end = consumer.get_watermark_offsets(committed, timeout=_ANSWER_S)
            (found,) = consumer.offsets_for_times([TopicPartition(topic, number, recently)], _ANSWER_S)
            at = int(end) if found.offset < 0 else found.offset
        starts[topic, number] = at
    return starts


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
    field = GROUP_OF[AlertType(alert.type)].fields[0]
    values = Measurements.model_validate({field: alert.value})
    reading = Reading(
        patient_id=alert.patient_id,
        device_id=alert.device_id,
        timestamp=arrived,
        measurements=values,
        message_id=alert.alert_id,
    )
    yield Observation(reading, (Alert.model_validate(document),))


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
