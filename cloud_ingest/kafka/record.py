"""Records for Kafka, or for the spool while Kafka is not available."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Literal, NamedTuple, Self

from pydantic_core import to_json

Store = Literal["kafka", "spool"]
"""Where a record is stored durably."""

TopicPartition = tuple[str, int]
"""Topic and partition number."""

TopicKey = tuple[str, bytes | None]
"""Topic and key: all records with the same ones go to one partition, in order."""


class Record(NamedTuple):
    """One Kafka message.

    Attributes:
        key: the patient's pseudonym; records with the same key stay in order. None where no patient is known.
    """

    topic: str
    key: bytes | None
    value: bytes

    @property
    def topic_key(self) -> TopicKey:
        """Topic and key."""
        return self[:2]

    @classmethod
    def of(cls, topic: str, key: str | None, document: dict[str, Any]) -> Self:
        """Return a record with a JSON value."""
        return cls(topic, key.encode() if key else None, to_json(document))


def utc_text(moment: datetime) -> str:
    """Return a time in ISO 8601, UTC, with a trailing Z."""
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")
