"""Topics read with kafka-python, which shares no code with the client under test."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from kafka import KafkaConsumer, TopicPartition  # type: ignore[import-untyped,unused-ignore]


class TopicMessage(NamedTuple):
    """One message of a topic."""

    key: str | None
    value: dict[str, Any]
    partition: int


def read_topic(bootstrap: str, topic: str) -> list[TopicMessage]:
    """Return all messages of a topic, in order within each partition."""
    consumer = KafkaConsumer(bootstrap_servers=bootstrap, enable_auto_commit=False)
    try:
        numbers = consumer.partitions_for_topic(topic) or set()
        partitions = [TopicPartition(topic, number) for number in sorted(numbers)]
        consumer.assign(partitions)
        ends = consumer.end_offsets(partitions)
        messages: list[TopicMessage] = []
        for partition in partitions:
            consumer.seek(partition, 0) if ends[partition] else None
        while any(consumer.position(partition) < end for partition, end in ends.items()):
            for records in consumer.poll(timeout_ms=500).values():
                messages += [
                    TopicMessage(r.key.decode() if r.key else None, json.loads(r.value), r.partition)
                    for r in records
                ]
        return messages
    finally:
        consumer.close()


def of_device(bootstrap: str, topic: str, device_id: str) -> list[TopicMessage]:
    """Return the messages of one device."""
    return [each for each in read_topic(bootstrap, topic) if each.value.get("device_id") == device_id]
