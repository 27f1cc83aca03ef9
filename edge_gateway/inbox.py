"""What sources hand over: a reading or what could not be one, and whom to tell once it is safe."""

from __future__ import annotations

import asyncio
import base64
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol
from uuid import UUID, uuid4

from vitals.reading import Reading

MAX_ORIGINAL = 512 * 1024
"""Bytes kept of what could not be read (the API takes 600 KiB)."""
_MAX_REASON, _MAX_FIELD = 900, 200


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """Something received that cannot be a reading, kept with its bytes for a person to look at."""

    error_id: UUID
    noticed: datetime
    device_id: str | None
    reason: str
    field: str
    original: bytes

    @classmethod
    def of(
        cls,
        original: bytes,
        reason: str,
        *,
        field: str = "",
        device_id: str | None = None,
        error_id: UUID | None = None,
    ) -> DeadLetter:
        """A dead letter noticed now; an original above 512 KiB is cut, and the reason says so."""
        if len(original) > MAX_ORIGINAL:
            reason = f"{reason[: _MAX_REASON - 80]} (cut, {len(original)} bytes received)"
        return cls(
            error_id or uuid4(),
            datetime.now(UTC),
            device_id,
            reason[:_MAX_REASON],
            field[:_MAX_FIELD],
            original[:MAX_ORIGINAL],
        )

    def to_wire(self, gateway_id: str) -> dict[str, Any]:
        """The JSON object that `POST /iot/errors` takes."""
        document = {
            "error_id": str(self.error_id),
            "timestamp": self.noticed.isoformat(),
            "source": "gateway",
            "gateway_id": gateway_id,
            "reason": self.reason,
            "field": self.field,
            "original": base64.b64encode(self.original).decode(),
        }
        return document | ({"device_id": self.device_id} if self.device_id else {})


def _nobody() -> None:
    """Nobody waits for this arrival."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """One thing a source took in.

    Attributes:
        content: a reading with its `message_id` and source, or a dead letter.
        confirm: called in the event loop once the content is durable.
        again: whether this source handed it over before; it is not judged a second time.
    """

    content: Reading | DeadLetter
    confirm: Callable[[], None] = _nobody
    again: bool = False


class Inbox:
    """Arrivals of one source, in order."""

    def __init__(self) -> None:
        self._waiting: deque[Arrival] = deque()
        self._news = asyncio.Event()

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, arrival: Arrival) -> None:
        """Add the newest arrival."""
        self._waiting.append(arrival)
        self._news.set()

    async def take(self, most: int) -> list[Arrival]:
        """The oldest arrivals, as many as there are up to `most`; waits for the first."""
        while not self._waiting:
            self._news.clear()
            await self._news.wait()
        return [self._waiting.popleft() for _ in range(min(most, len(self._waiting)))]


class Source(Protocol):
    """Where readings come from."""

    name: str
    inbox: Inbox

    async def run(self) -> None:
        """Receive until cancelled; the other side being away is a state, not an error."""
