"""The way of a reading through the API: intake, delivery, counting, answer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from pydantic import ValidationError

from cloud_ingest.access.authorizer import Guard
from cloud_ingest.access.permissions import Caller
from cloud_ingest.delivery.delivery import Delivery
from cloud_ingest.errors import BodyTooLarge, NotAllowed
from cloud_ingest.ingest.processor import Intake, Outcome
from cloud_ingest.kafka.dead_letter import ReportedError, of_gateway, original_of
from cloud_ingest.kafka.record import Record, utc_text
from cloud_ingest.metrics.counters import Metrics
from cloud_ingest.metrics.csv_log import MetricsCsv, Row
from vitals.errors import InvalidReading
from vitals.reading import invalid_reading

MAX_READINGS = 10_000
"""Readings of one batch."""
_SLICE = 200
"""Readings of a batch that are worked on before other requests get a turn."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """When a request came in.

    Attributes:
        at: UTC.
        clock: monotonic seconds, for latencies.
    """

    at: datetime
    clock: float

    @classmethod
    def now(cls) -> Arrival:
        """This moment."""
        return cls(datetime.now(UTC), time.monotonic())


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer to be."""

    status: int
    document: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Ingestion:
    """Joins the parts a reading passes through.

    Every method answers only when all it speaks of is durable, and raises NotDurable where that cannot be.
    """

    intake: Intake
    delivery: Delivery
    metrics: Metrics
    csv: MetricsCsv
    guard: Guard | None = None

    async def single(
        self, document: object, original: bytes, arrival: Arrival, caller: Caller, *, flat: bool = False
    ) -> Answer:
        """Take one reading; `flat` where its values may stand beside the patient."""
        outcome = self.intake.take(document, arrival.at, original, caller, flat=flat)
        self._note(caller, [outcome])
        return await self._finish(outcome, arrival)

    async def malformed(
        self, error: InvalidReading, original: bytes, arrival: Arrival, caller: Caller
    ) -> Answer:
        """Keep a body that holds no reading at all."""
        return await self._finish(self.intake.refuse(error, arrival.at, original, caller), arrival)

    async def batch(
        self, documents: Sequence[object], arrival: Arrival, caller: Caller, *, flat: bool = False
    ) -> Answer:
        """Take many readings; each stands for itself, answers keep the order.

        Raises:
            BodyTooLarge: more than 10,000 readings.
        """
        _check_count(documents)
        outcomes: list[Outcome] = []
        for start in range(0, len(documents), _SLICE):
            part = documents[start : start + _SLICE]
            outcomes += self.intake.take_all(part, arrival.at, caller, flat=flat)
            await asyncio.sleep(0)
        self._note(caller, outcomes)
        await self.delivery.deliver([record for outcome in outcomes for record in outcome.records])
        self._count(outcomes, arrival)
        accepted = sum(outcome.error is None for outcome in outcomes)
        results = [_result(outcome) for outcome in outcomes]
        return Answer(200, {"accepted": accepted, "rejected": len(outcomes) - accepted, "results": results})

    async def gateway_errors(self, documents: Sequence[object], arrival: Arrival, caller: Caller) -> Answer:
        """Keep a gateway's dead letters; a malformed one, or another gateway's, is kept as one of the API."""
        _check_count(documents)
        records: list[Record] = []
        refused: list[Outcome] = []
        accepted = 0
        for document in documents:
            try:
                letter = ReportedError.model_validate(document)
                caller.speak_as(letter.gateway_id, letter.device_id)
                records.append(of_gateway(letter, self.intake.pseudonyms, caller.gateway_id))
                accepted += 1
            except (ValidationError, NotAllowed) as error:
                reason = invalid_reading(error) if isinstance(error, ValidationError) else error
                outcome = self.intake.refuse(reason, arrival.at, original_of(document), caller, document)
                refused.append(outcome)
                records += outcome.records
        self._note(caller, refused)
        await self.delivery.deliver(records)
        return Answer(200, {"accepted": accepted, "rejected": len(records) - accepted})

    async def _finish(self, outcome: Outcome, arrival: Arrival) -> Answer:
        stores = await self.delivery.deliver(outcome.records)
        self._count([outcome], arrival)
        message_id, alerts = outcome.message_id, outcome.alerts
        if outcome.error is None:
            answer = {"status": "accepted", "message_id": message_id, "alerts": alerts}
            return Answer(200, answer | {"stored": sorted(set(stores))})
        status, kind = (403, "forbidden") if isinstance(outcome.error, NotAllowed) else (422, "invalid")
        refusal = {"error": kind, "field": outcome.error.field, "reason": outcome.error.reason}
        return Answer(status, refusal | {"message_id": message_id, "alerts": alerts})

    def _note(self, caller: Caller, outcomes: Sequence[Outcome]) -> None:
        if self.guard:
            errors = (outcome.error for outcome in outcomes)
            self.guard.note(caller, (error for error in errors if isinstance(error, NotAllowed)))

    def _count(self, outcomes: Sequence[Outcome], arrival: Arrival) -> None:
        now = time.monotonic()
        latency = now - arrival.clock
        accepted = [outcome for outcome in outcomes if outcome.error is None]
        if refused := [outcome for outcome in outcomes if outcome.error is not None]:
            self.metrics.reject(len(refused), _types(refused))
        if accepted:
            valid = sum(outcome.valid for outcome in accepted)
            self.metrics.accept(now, latency, len(accepted), valid, _types(accepted))
            self.csv.add(_rows(accepted, utc_text(arrival.at), f"{latency:.6f}"))


def _check_count(documents: Sequence[object]) -> None:
    if len(documents) > MAX_READINGS:
        raise BodyTooLarge(f"the batch has {len(documents)} entries, at most {MAX_READINGS} are accepted")


def _types(outcomes: Sequence[Outcome]) -> list[str]:
    return [alert.type.value for outcome in outcomes for alert in outcome.alerts]


def _rows(outcomes: Sequence[Outcome], arrived: str, latency: str) -> list[Row]:
    return [
        Row(
            arrived,
            latency,
            len(outcome.alerts),
            "|".join(_types([outcome])) if outcome.alerts else "",
            outcome.quality,
            int(outcome.valid),
            outcome.device_id,
        )
        for outcome in outcomes
    ]


def _result(outcome: Outcome) -> dict[str, Any]:
    error = outcome.error
    if error is None:
        return {
            "status": "accepted",
            "message_id": outcome.message_id,
            "alerts": outcome.alerts,
            "error": None,
        }
    return {
        "status": "rejected",
        "message_id": outcome.message_id,
        "alerts": outcome.alerts,
        "error": str(error),
        "field": error.field,
        "reason": error.reason,
    }
