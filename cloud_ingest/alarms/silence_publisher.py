"""Publishes the alert records of silent gateways to Kafka, in the background."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime

from cloud_ingest.alarms.background import result_of
from cloud_ingest.alarms.coverage import GatewaySilence
from cloud_ingest.kafka.producer import Publisher
from cloud_ingest.kafka.record import Record, utc_text
from vitals.topics import ALERTS


class SilencePublisher:
    """Publishes one list of silences at a time; the caller repeats what Kafka did not acknowledge."""

    def __init__(self, publisher: Publisher) -> None:
        self._publisher = publisher
        self._task: asyncio.Task[list[GatewaySilence]] | None = None

    @property
    def is_busy(self) -> bool:
        """Whether a list is being published, or its result has not been taken."""
        return self._task is not None

    def start(self, silences: Sequence[GatewaySilence], now: datetime) -> None:
        """Start to publish; return at once. Not to be called while busy."""
        self._task = asyncio.create_task(self._publish(silences, now), name="publish gateway silences")

    def take_published(self) -> list[GatewaySilence]:
        """Return the silences whose records Kafka has acknowledged since the last call.

        Raises:
            RecordingFailed: publishing failed with an unexpected error.
        """
        if self._task is None or not self._task.done():
            return []
        task, self._task = self._task, None
        return result_of(task)

    def cancel(self) -> None:
        """Stop waiting for Kafka."""
        if self._task is not None:
            self._task.cancel()

    async def _publish(self, silences: Sequence[GatewaySilence], now: datetime) -> list[GatewaySilence]:
        published = []
        for silence in silences:
            extra = {"gateway_id": silence.gateway_id, "ingestion_timestamp": utc_text(now)}
            ticket = self._publisher.send(
                [
                    Record.of(ALERTS, alert.patient_id, alert.model_dump(mode="json") | extra)
                    for alert in silence.alerts
                ]
            )
            await ticket.done
            if not ticket.missing():
                published.append(silence)
        return published
