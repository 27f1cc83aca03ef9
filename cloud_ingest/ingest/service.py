"""The ingest service: processes the readings of a request, makes them durable and builds the response."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from pydantic import ValidationError

from cloud_ingest.access.authorizer import Authorizer
from cloud_ingest.access.permissions import Caller
from cloud_ingest.delivery.delivery import Delivery
from cloud_ingest.errors import BodyTooLarge, NotAllowed
from cloud_ingest.ingest.processor import ProcessedReading, ReadingProcessor
from cloud_ingest.kafka.dead_letter import RefusalCode, ReportedError, of_gateway, original_of
from cloud_ingest.kafka.record import Record, utc_text
from cloud_ingest.metrics.counters import Metrics
from cloud_ingest.metrics.csv_log import MetricsCsv, Row
from vitals.errors import InvalidReading
from vitals.reading import invalid_reading

MAX_READINGS = 10_000
"""Readings of one batch."""
_SLICE = 200
"""Readings of a batch that are processed before the event loop handles other requests."""


@dataclass(frozen=True, slots=True)
class IngestRequest:
    """The time a request was received.

    Attributes:
        received_at: UTC.
        monotonic_s: for latencies.
    """

    received_at: datetime
    monotonic_s: float

    @classmethod
    def now(cls) -> IngestRequest:
        """Return a request received now."""
        return cls(datetime.now(UTC), time.monotonic())


@dataclass(frozen=True, slots=True)
class IngestResponse:
    """The status and JSON document of an HTTP response."""

    status: int
    document: dict[str, Any]


@dataclass(frozen=True, slots=True)
class IngestService:
    """Processor, delivery and counters of the ingestion routes.

    Every method returns once all its records are durable. It raises NotDurable where that is not possible.
    """

    processor: ReadingProcessor
    delivery: Delivery
    metrics: Metrics
    csv: MetricsCsv
    authorizer: Authorizer | None = None

    async def single(
        self, document: object, original: bytes, request: IngestRequest, caller: Caller, *, flat: bool = False
    ) -> IngestResponse:
        """Accept or refuse one reading; `flat` allows its values beside `patient_id`."""
        processed = self.processor.process(document, request.received_at, original, caller, flat=flat)
        self._audit_refusals(caller, [processed])
        return await self._deliver_single(processed, request)

    async def malformed(
        self, error: InvalidReading, original: bytes, request: IngestRequest, caller: Caller
    ) -> IngestResponse:
        """Record a body that holds no reading as a dead letter."""
        refused = self.processor.refuse(error, request.received_at, original, caller)
        return await self._deliver_single(refused, request)

    async def batch(
        self, documents: Sequence[object], request: IngestRequest, caller: Caller, *, flat: bool = False
    ) -> IngestResponse:
        """Accept or refuse each reading of a batch; the results are in the same order.

        Raises:
            BodyTooLarge: more than 10,000 readings.
        """
        _check_count(documents)
        processed: list[ProcessedReading] = []
        for start in range(0, len(documents), _SLICE):
            part = documents[start : start + _SLICE]
            processed += self.processor.process_all(part, request.received_at, caller, flat=flat)
            await asyncio.sleep(0)
        self._audit_refusals(caller, processed)
        await self.delivery.deliver([record for reading in processed for record in reading.records])
        self._count(processed, request)
        accepted = sum(reading.error is None for reading in processed)
        results = [_result(reading) for reading in processed]
        document = {"accepted": accepted, "rejected": len(processed) - accepted, "results": results}
        return IngestResponse(200, document)

    async def gateway_errors(
        self, documents: Sequence[object], request: IngestRequest, caller: Caller
    ) -> IngestResponse:
        """Record a gateway's dead letters; an invalid or forbidden one becomes a dead letter of the API.

        Raises:
            BodyTooLarge: more than 10,000 of them.
        """
        _check_count(documents)
        records: list[Record] = []
        refused: list[ProcessedReading] = []
        accepted = 0
        for document in documents:
            try:
                letter = ReportedError.model_validate(document)
                caller.authorize_gateway(letter.gateway_id, letter.device_id)
                records.append(of_gateway(letter, self.processor.pseudonyms, caller.gateway_id))
                accepted += 1
            except (ValidationError, NotAllowed) as error:
                reason = invalid_reading(error) if isinstance(error, ValidationError) else error
                original = original_of(document)
                refused.append(self.processor.refuse(reason, request.received_at, original, caller, document))
                records += refused[-1].records
        self._audit_refusals(caller, refused)
        await self.delivery.deliver(records)
        return IngestResponse(200, {"accepted": accepted, "rejected": len(records) - accepted})

    async def _deliver_single(self, processed: ProcessedReading, request: IngestRequest) -> IngestResponse:
        stores = await self.delivery.deliver(processed.records)
        self._count([processed], request)
        error, message_id, alerts = processed.error, processed.message_id, processed.alerts
        if error is None:
            document = {"status": "accepted", "message_id": message_id, "alerts": alerts}
            return IngestResponse(200, document | {"stored": sorted(set(stores))})
        forbidden = isinstance(error, NotAllowed)
        code = RefusalCode.FORBIDDEN if forbidden else RefusalCode.INVALID
        refusal = {"error": code, "field": error.field, "reason": error.reason}
        return IngestResponse(
            403 if forbidden else 422, refusal | {"message_id": message_id, "alerts": alerts}
        )

    def _audit_refusals(self, caller: Caller, processed: Sequence[ProcessedReading]) -> None:
        if self.authorizer:
            errors = (reading.error for reading in processed)
            self.authorizer.note(caller, (error for error in errors if isinstance(error, NotAllowed)))

    def _count(self, processed: Sequence[ProcessedReading], request: IngestRequest) -> None:
        now = time.monotonic()
        latency_s = now - request.monotonic_s
        accepted = [reading for reading in processed if reading.error is None]
        if refused := [reading for reading in processed if reading.error is not None]:
            self.metrics.reject(len(refused), _alert_types(refused))
        if accepted:
            valid = sum(reading.valid for reading in accepted)
            self.metrics.accept(now, latency_s, len(accepted), valid, _alert_types(accepted))
            self.csv.add(_rows(accepted, utc_text(request.received_at), f"{latency_s:.6f}"))


def _check_count(documents: Sequence[object]) -> None:
    if len(documents) > MAX_READINGS:
        raise BodyTooLarge(f"the batch has {len(documents)} entries, at most {MAX_READINGS} are accepted")


def _alert_types(processed: Sequence[ProcessedReading]) -> list[str]:
    return [alert.type.value for reading in processed for alert in reading.alerts]


def _rows(processed: Sequence[ProcessedReading], received_at: str, latency_s: str) -> list[Row]:
    return [
        Row(
            received_at,
            latency_s,
            len(reading.alerts),
            "|".join(_alert_types([reading])) if reading.alerts else "",
            reading.quality,
            int(reading.valid),
            reading.device_id,
        )
        for reading in processed
    ]


def _result(processed: ProcessedReading) -> dict[str, Any]:
    error = processed.error
    if error is None:
        return {
            "status": "accepted",
            "message_id": processed.message_id,
            "alerts": processed.alerts,
            "error": None,
        }
    return {
        "status": "rejected",
        "message_id": processed.message_id,
        "alerts": processed.alerts,
        "error": str(error),
        "field": error.field,
        "reason": error.reason,
    }
