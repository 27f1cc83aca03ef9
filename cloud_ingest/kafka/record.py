"""What is handed to Kafka, or to the spool until Kafka is back."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Literal, NamedTuple, Self

from pydantic_core import to_json

Store = Literal["kafka", "spool"]
"""Where a record is safe."""

Lane = tuple[str, bytes | None]
"""Topic and key: they share a partition, so Kafka takes all records of a lane or none."""


class Record(NamedTuple):
    """One Kafka message.

    Attributes:
        key: decides the partition: one patient's records keep their order; None where nobody is known.
    """

    topic: str
    key: bytes | None
    value: bytes

    @property
    def lane(self) -> Lane:
        """Topic and key."""
        return self[:2]

    @classmethod
    def of(cls, topic: str, key: str | None, document: dict[str, Any]) -> Self:
        """A record with a JSON value."""
        return cls(topic, key.encode() if key else None, to_json(document))


def utc_text(moment: datetime) -> str:
    """ISO 8601 in UTC with a trailing Z, as every timestamp of ours is written."""
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")
