"""Topics read with kafka-python, which shares no code with the client under test."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from kafka import KafkaConsumer, TopicPartition  # type: ignore[import-untyped,unused-ignore]


class Seen(NamedTuple):
    """One message of a topic."""

    key: str | None
    value: dict[str, Any]
    partition: int


def read_topic(bootstrap: str, topic: str) -> list[Seen]:
    """Return every message of a topic, ordered within each partition."""
    consumer = KafkaConsumer(bootstrap_servers=bootstrap, enable_auto_commit=False)
    try:
        numbers = consumer.partitions_for_topic(topic) or set()
        partitions = [TopicPartition(topic, number) for number in sorted(numbers)]
        consumer.assign(partitions)
        ends = consumer.end_offsets(partitions)
        seen: list[Seen] = []
        for partition in partitions:
            consumer.seek(partition, 0) if ends[partition] else None
        while any(consumer.position(partition) < end for partition, end in ends.items()):
            for records in consumer.poll(timeout_ms=500).values():
                seen += [
                    Seen(r.key.decode() if r.key else None, json.loads(r.value), r.partition) for r in records
                ]
        return seen
    finally:
        consumer.close()


def of_device(bootstrap: str, topic: str, device_id: str) -> list[Seen]:
    """Return the messages of one device."""
    return [seen for seen in read_topic(bootstrap, topic) if seen.value.get("device_id") == device_id]
