"""Dead letters sent again, once what they were refused for has been repaired.

The original bytes of each pass through the same intake as new readings and are published under the same
identity every time, so that a second replay adds nothing downstream. Patients carry pseudonyms there already.
With authentication on, a letter may do what the gateway that sent it may do now, and no more: reason and
original are the sender's words.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import chain
from typing import Any
from uuid import UUID, uuid4, uuid5

from confluent_kafka import Consumer, KafkaException, TopicPartition
from pydantic import Field, ValidationError

from cloud_ingest.access.permissions import (
    ANYONE,
    FOREIGN_DEVICE,
    FOREIGN_GATEWAY,
    FOREIGN_PATIENT,
    Caller,
    Scope,
)
from cloud_ingest.access.registry import Registry
from cloud_ingest.errors import KafkaUnavailable, NotDurable
from cloud_ingest.ingest.device_status import DeviceStatusGate
from cloud_ingest.ingest.processor import Intake, Outcome, unflatten
from cloud_ingest.kafka.messages import ErrorValue
from cloud_ingest.kafka.producer import Publisher
from cloud_ingest.kafka.record import utc_text
from cloud_ingest.privacy.pseudonyms import Pseudonyms
from vitals.errors import InvalidReading
from vitals.reading import parse_json
from vitals.topics import ERRORS

log = logging.getLogger(__name__)

TIMEOUT_S = 10.0
PROGRESS = 1000
RECORDER = "recorder"
"""Source of letters about messages that the API had accepted."""
_PSEUDONYM = re.compile(r"p[0-9]+_[0-9a-f]{32}")


class Letter(ErrorValue):
    """A dead letter of the errors topic.

    Attributes:
        original_size: full size of an original that was cut.
    """

    original_size: int | None = Field(None)


@dataclass(frozen=True, slots=True)
class Selection:
    """Which dead letters to send again; what is None or empty selects all.

    A letter about another gateway's device or patient, or of a gateway that may send no readings, is taken
    only where its `error_id` is given: who may speak for a child is for a person to decide.

    Attributes:
        since, until: when it was refused, UTC; `until` is excluded.
        reason: text that its reason holds, in any case.
        source: `api`, `gateway` or `recorder`.
    """

    since: datetime | None = None
    until: datetime | None = None
    reason: str = ""
    source: str = ""
    error_ids: frozenset[UUID] = frozenset()

    def takes(self, letter: Letter, sender: Caller | None) -> bool:
        """Whether a letter of that sender is selected."""
        return (
            (self.since is None or letter.timestamp >= self.since)
            and (self.until is None or letter.timestamp < self.until)
            and self.reason.casefold() in letter.reason.casefold()
            and self.source in ("", letter.source)
            and (letter.error_id in self.error_ids or not (self.error_ids or sender is None))
        )


def sender_of(letter: Letter, registry: Registry | None, pseudonyms: Pseudonyms) -> Caller | None:
    """In whose name a letter may be sent again; None where a person has to decide.

    Args:
        registry: None where authentication is off.
        pseudonyms: what letters call the patients a gateway is bound to.
    """
    if any(reason in letter.reason for reason in (FOREIGN_DEVICE, FOREIGN_GATEWAY, FOREIGN_PATIENT)):
        return None
    if registry is None or letter.source == RECORDER:
        return ANYONE
    found = registry.active(letter.gateway_id or "")
    if found is None or Scope.READINGS_WRITE not in found.scopes:
        return None
    bound = found.patients
    patients = bound and frozenset(chain.from_iterable(map(pseudonyms.every_pseudonym, bound)))
    return Caller(found.gateway_id, found.scopes, found.devices, patients)


@dataclass(slots=True)
class Counts:
    """What a replay came to: letters selected, of them repaired and still refused; readings sent."""

    selected: int = 0
    repaired: int = 0
    still_refused: int = 0
    readings: int = 0


class KnownByPseudonym:
    """Leaves pseudonyms as they are, so that a child keeps the one it has."""

    def __init__(self, source: Pseudonyms) -> None:
        self._source = source

    def pseudonym(self, patient_id: str) -> str:
        """Pseudonym of a patient, or of one who is known by pseudonym only."""
        return patient_id if _PSEUDONYM.fullmatch(patient_id) else self._source.pseudonym(patient_id)

    def every_pseudonym(self, patient_id: str) -> tuple[str, ...]:
        """Pseudonyms of a patient under all keys."""
        return self._source.every_pseudonym(patient_id)

    def scrub(self, data: bytes) -> bytes:
        """Bytes with every patient identifier in them replaced."""
        return self._source.scrub(data)


async def replay(
    bootstrap: str,
    selection: Selection,
    pseudonyms: Pseudonyms,
    registry: Registry | None,
    tell: Callable[[str], None],
    *,
    dry_run: bool = False,
) -> Counts:
    """Send the selected letters again, or only tell what would become of each.

    Args:
        registry: who may speak for which devices; None where authentication is off.
        tell: gets one line a letter.

    Raises:
        KafkaUnavailable: the errors topic cannot be read.
        NotDurable: Kafka did not acknowledge; what was sent before is safe, and the whole can be repeated.
    """
    intake, counts = Intake(KnownByPseudonym(pseudonyms), DeviceStatusGate()), Counts()
    publisher = Publisher(bootstrap)
    try:
        for letter in _letters(bootstrap):
            sender = sender_of(letter, registry, pseudonyms)
            if selection.takes(letter, sender):
                await _again(letter, sender or ANYONE, intake, None if dry_run else publisher, counts, tell)
                if counts.selected % PROGRESS == 0:
                    log.info("%d dead letters so far", counts.selected)
            elif selection.takes(letter, ANYONE):
                tell(f"{_about(letter)} -> left out: not its gateway's to send; ask for it by --error-id")
    finally:
        await asyncio.to_thread(publisher.close)
    return counts


async def _again(
    letter: Letter,
    sender: Caller,
    intake: Intake,
    publisher: Publisher | None,
    counts: Counts,
    tell: Callable[[str], None],
) -> None:
    counts.selected += 1
    about = _about(letter)
    try:
        outcomes = outcomes_of(letter, sender, intake, datetime.now(UTC))
    except InvalidReading as error:
        counts.still_refused += 1
        tell(f"{about} -> still refused: {error}")
        return
    if publisher:
        ticket = publisher.send([record for outcome in outcomes for record in outcome.records])
        await ticket.done
        if ticket.missing():
            raise NotDurable(f"Kafka does not acknowledge dead letter {letter.error_id}")
    counts.repaired += 1
    counts.readings += len(outcomes)
    tell(f"{about} -> {'sent' if publisher else 'would be sent'}, {len(outcomes)} readings")


def _about(letter: Letter) -> str:
    return f"{letter.error_id} {utc_text(letter.timestamp)} {letter.source}: {letter.reason}"


def outcomes_of(letter: Letter, sender: Caller, intake: Intake, now: datetime) -> list[Outcome]:
    """What becomes of the readings in a letter.

    Raises:
        InvalidReading: one of them is still refused, or the original is not all there.
    """
    if letter.original is None or letter.original_size is not None:
        raise InvalidReading("original", "was not kept whole")
    document = parse_json(letter.original)
    many = document.get("readings") if isinstance(document, dict) else None
    outcomes = []
    for number, each in enumerate(many if isinstance(many, list) else [document]):
        outcome = intake.take(_completed(each, letter, number), now, letter.original, sender)
        if outcome.error is not None:
            raise outcome.error
        outcomes.append(outcome)
    return outcomes


def _completed(document: object, letter: Letter, number: int) -> object:
    """A reading with what stood beside it when it came, and an identity that is the same each time."""
    if not isinstance(document, dict):
        return document
    known: dict[str, Any] = {"device_id": letter.device_id, "gateway_id": letter.gateway_id}
    known["message_id"] = str(uuid5(letter.error_id, str(number)))
    lacking = {name: value for name, value in known.items() if value and document.get(name) is None}
    return unflatten({**document, **lacking}, letter.timestamp)


def _letters(bootstrap: str) -> Iterator[Letter]:
    """Everything the errors topic holds now; what cannot be read is passed over and logged."""
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
        known = consumer.list_topics(ERRORS, timeout=TIMEOUT_S).topics[ERRORS].partitions
        for number in known:
            yield from _of_partition(consumer, TopicPartition(ERRORS, number))
    except KafkaException as error:
        raise KafkaUnavailable(f"{ERRORS}: {error.args[0].str()}") from None
    finally:
        consumer.close()


def _of_partition(consumer: Consumer, partition: TopicPartition) -> Iterator[Letter]:
    low, high = consumer.get_watermark_offsets(partition, timeout=TIMEOUT_S)
    consumer.assign([TopicPartition(partition.topic, partition.partition, low)])
    following, heard = low, time.monotonic()
    while following < high:
        messages = consumer.consume(min(500, high - following), 0.5)
        if messages:
            heard = time.monotonic()
        elif time.monotonic() - heard > TIMEOUT_S:
            raise KafkaUnavailable(f"{ERRORS}: no answer")
        for message in messages:
            if message.error():
                continue
            following = (message.offset() or 0) + 1
            if following <= high and (letter := _letter(message.value() or b"")):
                yield letter


def _letter(value: bytes) -> Letter | None:
    try:
        return Letter.model_validate(parse_json(value))
    except (InvalidReading, ValidationError):
        log.warning("a message of %s is no dead letter", ERRORS)
        return None
