"""What a source passes to the intake: readings and dead letters, each with a callback for durability."""

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
"""Most bytes kept of an unreadable message (the API accepts 600 KiB)."""
_MAX_REASON, _MAX_FIELD = 900, 200


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A received message that is not a valid reading, kept with its original bytes for inspection."""

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
        """Create a dead letter dated now; an original above 512 KiB is truncated, which the reason states."""
        if len(original) > MAX_ORIGINAL:
            reason = f"{reason[: _MAX_REASON - 80]} (truncated, {len(original)} bytes received)"
        return cls(
            error_id or uuid4(),
            datetime.now(UTC),
            device_id,
            reason[:_MAX_REASON],
            field[:_MAX_FIELD],
            original[:MAX_ORIGINAL],
        )

    def to_wire(self, gateway_id: str) -> dict[str, Any]:
        """Return the JSON object for `POST /iot/errors`."""
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


def _ignore() -> None:
    """Default for items that nobody waits for."""


@dataclass(frozen=True, slots=True)
class InboxItem:
    """One thing that a source received.

    Attributes:
        content: a reading with its `message_id` and source, or a dead letter.
        confirm: called in the event loop once the content is durable.
        duplicate: whether this source delivered it before; then the rules are not evaluated again.
    """

    content: Reading | DeadLetter
    confirm: Callable[[], None] = _ignore
    duplicate: bool = False


class Inbox:
    """The received items of one source, in order."""

    def __init__(self) -> None:
        self._waiting: deque[InboxItem] = deque()
        self._arrived = asyncio.Event()

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, item: InboxItem) -> None:
        """Append an item."""
        self._waiting.append(item)
        self._arrived.set()

    async def take(self, most: int) -> list[InboxItem]:
        """Remove and return up to `most` of the oldest items; wait for the first one."""
        while not self._waiting:
            self._arrived.clear()
            await self._arrived.wait()
        return [self._waiting.popleft() for _ in range(min(most, len(self._waiting)))]


class ReadingSource(Protocol):
    """A transport that readings come from."""

    name: str
    inbox: Inbox

    async def run(self) -> None:
        """Receive until cancelled; an unreachable peer is a state, not an error."""
