"""What is handed to Kafka, or to the spool until Kafka is back."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

Store = Literal["kafka", "spool"]
"""Where a record is safe."""


@dataclass(frozen=True, slots=True)
class Record:
    """One Kafka message.

    Attributes:
        key: decides the partition: one patient's records keep their order; None where nobody is known.
    """

    topic: str
    key: bytes | None
    value: bytes

    @classmethod
    def of(cls, topic: str, key: str | None, document: dict[str, Any]) -> Record:
        """A record with a JSON value."""
        value = json.dumps(document, ensure_ascii=False, separators=(",", ":"))
        return cls(topic, key.encode() if key else None, value.encode())


def utc_text(moment: datetime) -> str:
    """ISO 8601 in UTC with a trailing Z, as every timestamp of ours is written."""
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")
