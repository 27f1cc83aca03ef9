"""Small things that many tests of the gateway need."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

from edge_gateway.outbox.reading_queries import NewReading
from vitals.reading import Measurements, Reading

TIMESTAMP = datetime(2025, 8, 24, 10, 30, tzinfo=UTC)


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


async def eventually(look: Callable[[], Any], timeout_s: float = 10) -> Any:
    """Look until there is something true to see."""
    deadline = time.monotonic() + timeout_s
    while True:
        seen = look()
        if isinstance(seen, Awaitable):
            seen = await seen
        if seen or time.monotonic() > deadline:
            assert seen, "did not happen in time"
            return seen
        await asyncio.sleep(0.02)
