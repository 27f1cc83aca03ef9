"""Replay of dead letters once the reason for their refusal has been repaired.

The original bytes pass through the same processor as new readings and are published under the same identity
every time, so that a second replay adds nothing downstream. Patients in them are pseudonyms already.
With authentication on, a letter is limited to what the gateway that sent it may do now: its reason and its
original are text the sender chose.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import uuid5

from cloud_ingest.access.permissions import ANYONE, Caller
from cloud_ingest.access.registry import Registry
from cloud_ingest.errors import NotDurable
from cloud_ingest.ingest.dead_letters import LetterSelection, StoredDeadLetter, read_dead_letters, sender_of
from cloud_ingest.ingest.device_status import DeviceStatusGate
from cloud_ingest.ingest.processor import ProcessedReading, ReadingProcessor, unflatten
from cloud_ingest.kafka.producer import Publisher
from cloud_ingest.kafka.record import utc_text
from cloud_ingest.privacy.pseudonyms import Pseudonyms
from vitals.errors import InvalidReading
from vitals.reading import parse_json

log = logging.getLogger(__name__)

PROGRESS_EVERY = 1000
_PSEUDONYM = re.compile(r"p[0-9]+_[0-9a-f]{32}")


@dataclass(slots=True)
class ReplayCounts:
    """Letters selected, of them repaired and still refused, and the readings sent."""

    selected: int = 0
    repaired: int = 0
    still_refused: int = 0
    readings: int = 0


class PseudonymPassthrough:
    """Pseudonyms that leave an identifier unchanged where it is a pseudonym already."""

    def __init__(self, source: Pseudonyms) -> None:
        self._source = source

    def pseudonym(self, patient_id: str) -> str:
        """Return the pseudonym of a patient identifier or pseudonym."""
        return patient_id if _PSEUDONYM.fullmatch(patient_id) else self._source.pseudonym(patient_id)

    def every_pseudonym(self, patient_id: str) -> tuple[str, ...]:
        """Return the pseudonyms of a patient under all keys."""
        return self._source.every_pseudonym(patient_id)

    def scrub(self, data: bytes) -> bytes:
        """Return bytes with every patient identifier in them replaced."""
        return self._source.scrub(data)


async def replay(
    bootstrap: str,
    selection: LetterSelection,
    pseudonyms: Pseudonyms,
    registry: Registry | None,
    report: Callable[[str], None],
    *,
    dry_run: bool = False,
) -> ReplayCounts:
    """Send the selected letters again, or only report what would happen to each.

    Args:
        registry: which devices and patients each gateway may send; None where authentication is off.
        report: called with one line per letter.

    Raises:
        KafkaUnavailable: the errors topic cannot be read.
        NotDurable: Kafka did not acknowledge a letter; earlier ones are durable, the replay can be repeated.
    """
    processor, counts = ReadingProcessor(PseudonymPassthrough(pseudonyms), DeviceStatusGate()), ReplayCounts()
    publisher = Publisher(bootstrap)
    try:
        for letter in read_dead_letters(bootstrap):
            sender = sender_of(letter, registry, pseudonyms)
            if selection.selects(letter, sender):
                target = None if dry_run else publisher
                await _replay_letter(letter, sender or ANYONE, processor, target, counts, report)
                if counts.selected % PROGRESS_EVERY == 0:
                    log.info("%d dead letters so far", counts.selected)
            elif selection.selects(letter, ANYONE):
                report(f"{_summary(letter)} -> skipped: not allowed for its gateway; select it by --error-id")
    finally:
        await asyncio.to_thread(publisher.close)
    return counts


async def _replay_letter(
    letter: StoredDeadLetter,
    sender: Caller,
    processor: ReadingProcessor,
    publisher: Publisher | None,
    counts: ReplayCounts,
    report: Callable[[str], None],
) -> None:
    counts.selected += 1
    summary = _summary(letter)
    try:
        readings = process_letter(letter, sender, processor, datetime.now(UTC))
    except InvalidReading as error:
        counts.still_refused += 1
        report(f"{summary} -> still refused: {error}")
        return
    if publisher:
        ticket = publisher.send([record for reading in readings for record in reading.records])
        await ticket.done
        if ticket.missing():
            raise NotDurable(f"Kafka does not acknowledge dead letter {letter.error_id}")
    counts.repaired += 1
    counts.readings += len(readings)
    report(f"{summary} -> {'sent' if publisher else 'would be sent'}, {len(readings)} readings")


def _summary(letter: StoredDeadLetter) -> str:
    return f"{letter.error_id} {utc_text(letter.timestamp)} {letter.source}: {letter.reason}"


def process_letter(
    letter: StoredDeadLetter, sender: Caller, processor: ReadingProcessor, now: datetime
) -> list[ProcessedReading]:
    """Process the readings in a letter.

    Raises:
        InvalidReading: a reading is still refused, or the original is not complete.
    """
    if letter.original is None or letter.original_size is not None:
        raise InvalidReading("original", "was not stored completely")
    document = parse_json(letter.original)
    batch = document.get("readings") if isinstance(document, dict) else None
    processed = []
    for number, reading in enumerate(batch if isinstance(batch, list) else [document]):
        result = processor.process(_complete(reading, letter, number), now, letter.original, sender)
        if result.error is not None:
            raise result.error
        processed.append(result)
    return processed


def _complete(document: object, letter: StoredDeadLetter, number: int) -> object:
    """Add device and gateway of the letter to a reading, and an identity that is the same in each replay."""
    if not isinstance(document, dict):
        return document
    defaults: dict[str, Any] = {"device_id": letter.device_id, "gateway_id": letter.gateway_id}
    defaults["message_id"] = str(uuid5(letter.error_id, str(number)))
    missing = {name: value for name, value in defaults.items() if value and document.get(name) is None}
    return unflatten({**document, **missing}, letter.timestamp)
