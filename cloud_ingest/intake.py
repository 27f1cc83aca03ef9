"""One document in, what becomes of it out: validated, pseudonymised, judged by the rules, made into records.

Nothing here waits or touches a network: time, the key and identities are handed in.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from cloud_ingest import API_VERSION
from cloud_ingest.access import ANYONE, Caller
from cloud_ingest.dead_letter import dead_letter
from cloud_ingest.device_status import DeviceStatusGate, device_status
from cloud_ingest.pseudonym_key import Pseudonyms
from cloud_ingest.record import Record, utc_text
from vitals import rules
from vitals.errors import InvalidReading
from vitals.limits import FUTURE_TOLERANCE_S, VITALS
from vitals.quality import quality_score
from vitals.reading import Reading, parse_reading
from vitals.rules import Alert
from vitals.topics import ALERTS, DEVICE_STATUS, MEASUREMENTS

UNKNOWN_DEVICE = "unknown"
"""Device of a flat reading that does not name one."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What becomes of one document.

    Attributes:
        records: all that must be durable before the sender is answered, in the order to publish.
        error: why it was refused; None where it was accepted.
        quality, valid: score of the reading and whether no value was invalid.
    """

    message_id: UUID | None
    records: tuple[Record, ...]
    alerts: tuple[Alert, ...] = ()
    error: InvalidReading | None = None
    quality: float = 0.0
    valid: bool = False
    device_id: str = ""


@dataclass(frozen=True, slots=True)
class Intake:
    """Turns documents into outcomes.

    Attributes:
        gate: decides which device states are published.
        new_id: makes the identity of a reading that came without.
    """

    pseudonyms: Pseudonyms
    gate: DeviceStatusGate
    new_id: Callable[[], UUID] = uuid4

    def take(
        self, document: object, received: datetime, original: bytes | None = None, caller: Caller = ANYONE
    ) -> Outcome:
        """What becomes of one decoded document.

        Args:
            received: the server's time of arrival, UTC.
            original: the bytes it was decoded from; encoded again where absent, as for the parts of a batch.
            caller: who sent it, and whose devices it may speak for.
        """
        try:
            reading = parse_reading(document)
            caller.vouch(reading)
        except InvalidReading as error:
            return self.refuse(error, received, original, document)
        message_id = reading.message_id or self.new_id()
        hidden = reading.model_copy(
            update={
                "patient_id": self.pseudonyms.pseudonym(reading.patient_id),
                "message_id": message_id,
                "gateway_id": reading.gateway_id or caller.gateway_id,
            }
        )
        ahead = (reading.timestamp - received).total_seconds()
        if ahead > FUTURE_TOLERANCE_S:
            return self._quarantine(hidden, message_id, ahead, _bytes_of(document, original), received)
        return self._accept(hidden, message_id, received)

    def refuse(
        self, error: InvalidReading, received: datetime, original: bytes | None, document: object = None
    ) -> Outcome:
        """The outcome of what breaks the contract: a dead letter, and the identity it claimed if any."""
        device_id = _text_of(document, "device_id")
        letter = dead_letter(
            _bytes_of(document, original),
            error.field,
            error.reason,
            received,
            self.pseudonyms,
            device_id=device_id,
            gateway_id=_text_of(document, "gateway_id"),
        )
        return Outcome(_uuid_of(document), (letter,), error=error, device_id=device_id or "")

    def _accept(self, reading: Reading, message_id: UUID, received: datetime) -> Outcome:
        now = utc_text(received)
        invalid = reading.measurements.invalid_fields()
        quality = quality_score(reading)
        enriched = reading.to_wire() | {
            "ingestion_timestamp": now,
            "api_version": API_VERSION,
            "invalid_fields": list(invalid),
            "quality_score": quality,
        }
        alerts = rules.evaluate(reading)
        records = [Record.of(MEASUREMENTS, reading.patient_id, enriched)]
        records += self._alert_records(alerts, reading, message_id, now)
        if self.gate.due(reading, message_id):
            status = device_status(reading, message_id, now)
            records.append(Record.of(DEVICE_STATUS, reading.patient_id, status))
        return Outcome(message_id, tuple(records), alerts, None, quality, not invalid, reading.device_id)

    def _quarantine(
        self, reading: Reading, message_id: UUID, ahead: float, original: bytes, received: datetime
    ) -> Outcome:
        error = InvalidReading("timestamp", f"is {ahead:.0f} s ahead of the server's clock: quarantined")
        letter = dead_letter(
            original,
            error.field,
            error.reason,
            received,
            self.pseudonyms,
            device_id=reading.device_id,
            gateway_id=reading.gateway_id,
        )
        alerts = (*rules.evaluate(reading), rules.clock_skew(ahead))
        records = (letter, *self._alert_records(alerts, reading, message_id, utc_text(received)))
        return Outcome(message_id, records, alerts, error, device_id=reading.device_id)

    def _alert_records(
        self, alerts: tuple[Alert, ...], reading: Reading, message_id: UUID, now: str
    ) -> list[Record]:
        extra = {"ingestion_timestamp": now}
        if reading.gateway_id:
            extra["gateway_id"] = reading.gateway_id
        found = (rules.record_of(alert, reading, message_id) for alert in alerts)
        return [
            Record.of(ALERTS, reading.patient_id, alert.model_dump(mode="json") | extra) for alert in found
        ]


def unflatten(document: object, received: datetime) -> object:
    """A flat reading (`freq_card`… beside `patient_id`) in the nested form; anything else as it is.

    A flat reading may leave out its time, which is then the time of arrival, and its device.
    """
    if not isinstance(document, dict) or "measurements" in document:
        return document
    flat: dict[str, Any] = {"device_id": UNKNOWN_DEVICE, "timestamp": utc_text(received), **document}
    measurements = {vital.field: flat.pop(vital.field) for vital in VITALS if vital.field in flat}
    return {**flat, "measurements": measurements}


def _bytes_of(document: object, original: bytes | None) -> bytes:
    return json.dumps(document, ensure_ascii=True).encode() if original is None else original


def _text_of(document: object, field: str) -> str | None:
    value = document.get(field) if isinstance(document, dict) else None
    return value[:128].encode(errors="replace").decode() if isinstance(value, str) and value else None


def _uuid_of(document: object) -> UUID | None:
    try:
        return UUID(_text_of(document, "message_id") or "")
    except ValueError:
        return None
