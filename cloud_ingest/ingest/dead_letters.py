"""Dead letters read back from the errors topic, selected, and attributed to the gateway that sent them."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import chain
from uuid import UUID, uuid4

from confluent_kafka import Consumer, KafkaException, TopicPartition
from pydantic import Field, ValidationError

from cloud_ingest.access.permissions import ANYONE, Caller, Scope
from cloud_ingest.access.registry import Registry
from cloud_ingest.errors import KafkaUnavailable
from cloud_ingest.kafka.dead_letter import RefusalCode
from cloud_ingest.kafka.messages import ErrorValue
from cloud_ingest.privacy.pseudonyms import Pseudonyms
from vitals.errors import InvalidReading
from vitals.reading import parse_json
from vitals.topics import ERRORS

log = logging.getLogger(__name__)

KAFKA_TIMEOUT_S = 10.0
RECORDER = "recorder"
"""Source of dead letters about messages that the API had accepted."""
_REASONS_BEFORE_CODES = (
    "is not a device this gateway may speak for",
    "is another gateway than the token's",
    "names a patient this gateway may not speak for",
)
"""Reasons of forbidden letters on the topic from versions that did not record a code."""


class StoredDeadLetter(ErrorValue):
    """A message of the errors topic.

    Attributes:
        code: why the API refused it; None for letters of gateways, of the recorder and of earlier versions.
        original_size: full size of an original that was truncated.
    """

    code: str | None = None
    original_size: int | None = Field(None)

    @property
    def forbidden(self) -> bool:
        """Whether it was refused because its sender is not allowed to send it."""
        if self.code is None:
            return any(reason in self.reason for reason in _REASONS_BEFORE_CODES)
        return self.code == RefusalCode.FORBIDDEN


@dataclass(frozen=True, slots=True)
class LetterSelection:
    """The dead letters to send again; a criterion that is None or empty selects all.

    A forbidden letter, and one of a gateway that may not send readings, is selected only by its `error_id`:
    an operator has to decide who may send readings of a child.

    Attributes:
        since, until: time of the refusal, UTC; `until` is excluded.
        reason: text contained in the reason, case-insensitive.
        source: `api`, `gateway` or `recorder`.
    """

    since: datetime | None = None
    until: datetime | None = None
    reason: str = ""
    source: str = ""
    error_ids: frozenset[UUID] = frozenset()

    def selects(self, letter: StoredDeadLetter, sender: Caller | None) -> bool:
        """Return whether a letter of this sender is selected."""
        return (
            (self.since is None or letter.timestamp >= self.since)
            and (self.until is None or letter.timestamp < self.until)
            and self.reason.casefold() in letter.reason.casefold()
            and self.source in ("", letter.source)
            and (letter.error_id in self.error_ids or not (self.error_ids or sender is None))
        )


def sender_of(letter: StoredDeadLetter, registry: Registry | None, pseudonyms: Pseudonyms) -> Caller | None:
    """Return the caller on whose behalf to send a letter again; None where an operator has to decide.

    Args:
        registry: None where authentication is off.
        pseudonyms: replaces the patients a gateway is bound to, because letters hold pseudonyms.
    """
    if letter.forbidden:
        return None
    if registry is None or letter.source == RECORDER:
        return ANYONE
    registration = registry.active(letter.gateway_id or "")
    if registration is None or Scope.READINGS_WRITE not in registration.scopes:
        return None
    bound = registration.patients
    patients = bound and frozenset(chain.from_iterable(map(pseudonyms.every_pseudonym, bound)))
    return Caller(registration.gateway_id, registration.scopes, registration.devices, patients)


def read_dead_letters(bootstrap: str) -> Iterator[StoredDeadLetter]:
    """Yield what the errors topic holds now; messages that are no dead letters are logged and skipped.

    Raises:
        KafkaUnavailable: the topic cannot be read.
    """
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": f"kidjamo-replay-{uuid4()}",
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "log_level": 2,
        },
        logger=log,
    )
    try:
        partitions = consumer.list_topics(ERRORS, timeout=KAFKA_TIMEOUT_S).topics[ERRORS].partitions
        for number in partitions:
            yield from _read_partition(consumer, TopicPartition(ERRORS, number))
    except KafkaException as error:
        raise KafkaUnavailable(f"{ERRORS}: {error.args[0].str()}") from None
    finally:
        consumer.close()


def _read_partition(consumer: Consumer, partition: TopicPartition) -> Iterator[StoredDeadLetter]:
    low, high = consumer.get_watermark_offsets(partition, timeout=KAFKA_TIMEOUT_S)
    consumer.assign([TopicPartition(partition.topic, partition.partition, low)])
    offset, last_message_at = low, time.monotonic()
    while offset < high:
        messages = consumer.consume(min(500, high - offset), 0.5)
        if messages:
            last_message_at = time.monotonic()
        elif time.monotonic() - last_message_at > KAFKA_TIMEOUT_S:
            raise KafkaUnavailable(f"{ERRORS}: no answer")
        for message in messages:
            if message.error():
                continue
            offset = (message.offset() or 0) + 1
            if offset <= high and (letter := _parse(message.value() or b"")):
                yield letter


def _parse(value: bytes) -> StoredDeadLetter | None:
    try:
        return StoredDeadLetter.model_validate(parse_json(value))
    except (InvalidReading, ValidationError):
        log.warning("skipped a message of %s that is not a dead letter", ERRORS)
        return None
