"""Helpers that many tests of the gateway share."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID, uuid4

from edge_gateway.outbox.reading_queries import NewReading
from vitals.reading import Measurements, Reading

TIMESTAMP = datetime(2025, 8, 24, 10, 30, tzinfo=UTC)


class VolatileAlarmStore:
    """An alarm store that stores nothing."""

    async def alarm_states(self) -> dict[str, str]:
        return {}

    async def keep_alarm_state(self, name: str, state: str) -> None:
        pass


def a_reading(device_id: str = "bracelet-001", message_id: UUID | None = None, **values: float) -> Reading:
    return Reading(
        patient_id="patient-001-ss",
        device_id=device_id,
        timestamp=TIMESTAMP,
        measurements=Measurements(**(values or {"spo2_pct": 97.0})),
        message_id=message_id or uuid4(),
    )


def a_row(device_id: str = "bracelet-001") -> NewReading:
    reading = a_reading(device_id)
    assert reading.message_id
    return NewReading(reading.message_id, device_id, reading.model_dump_json(exclude_none=True))
