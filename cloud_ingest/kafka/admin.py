"""Kafka topics: create them, count their messages, check that the broker has them."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from concurrent.futures import Future

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka import TopicPartition as KafkaTopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec  # type: ignore[attr-defined]
from confluent_kafka.cimpl import NewTopic

from cloud_ingest.errors import KafkaUnavailable
from cloud_ingest.kafka.record import TopicPartition
from vitals.topics import KAFKA_TOPICS

log = logging.getLogger(__name__)

PARTITIONS = 3


def admin_client(bootstrap: str) -> AdminClient:
    """Return a client for topics that reconnects quickly."""
    return AdminClient(
        {
            "bootstrap.servers": bootstrap,
            "client.id": "kidjamo-ingest-admin",
            "socket.timeout.ms": 3000,
            "socket.connection.setup.timeout.ms": 2000,
            "reconnect.backoff.ms": 200,
            "reconnect.backoff.max.ms": 500,
            "log.connection.close": False,
            "log_level": 2,
        },
        logger=log,
    )


def create_topics(client: AdminClient, timeout: float = 5.0) -> list[str]:
    """Create those of the four topics that are missing, with three partitions each; return their names.

    Raises:
        KafkaUnavailable: no answer in `timeout` seconds, or a refusal.
    """
    missing = [NewTopic(topic, num_partitions=PARTITIONS) for topic in missing_topics(client, timeout)]
    if not missing:
        return []
    futures: dict[str, Future[None]] = client.create_topics(missing, request_timeout=timeout)
    created = []
    for topic, future in futures.items():
        try:
            future.result(timeout + 1)
            created.append(topic)
        except KafkaException as error:
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise KafkaUnavailable(f"topic {topic}: {error.args[0].str()}") from None
        except TimeoutError:
            raise KafkaUnavailable(f"topic {topic}: no answer") from None
    return created


def missing_topics(client: AdminClient, timeout: float) -> list[str]:
    """Return those of the four topics that the broker does not have.

    Raises:
        KafkaUnavailable: no answer in `timeout` seconds.
    """
    present = partitions_of_topics(client, timeout)
    return [topic for topic in KAFKA_TOPICS if topic not in present]


def partitions_of_topics(client: AdminClient, timeout: float = 5.0) -> dict[str, int]:
    """Return the number of partitions of each of the four topics that the broker has.

    Raises:
        KafkaUnavailable: no answer in `timeout` seconds.
    """
    try:
        metadata = client.list_topics(timeout=timeout).topics
    except KafkaException as error:
        raise KafkaUnavailable(error.args[0].str()) from None
    return {topic: len(metadata[topic].partitions) for topic in KAFKA_TOPICS if topic in metadata}


def end_offsets(
    client: AdminClient, partitions: Iterable[TopicPartition], timeout: float
) -> dict[TopicPartition, int]:
    """Return the offset of the next message of each partition.

    Raises:
        KafkaUnavailable: no answer in `timeout` seconds.
    """
    latest = OffsetSpec.latest()  # type: ignore[no-untyped-call]
    wanted = {KafkaTopicPartition(topic, number): latest for topic, number in partitions}
    if not wanted:
        return {}
    futures = client.list_offsets(wanted, request_timeout=timeout)
    try:
        offsets = {partition: future.result(timeout).offset for partition, future in futures.items()}
    except (KafkaException, TimeoutError) as error:
        raise KafkaUnavailable(f"no offsets: {type(error).__name__}") from None
    return {(partition.topic, partition.partition): offset for partition, offset in offsets.items()}


class KafkaProbe:
    """Checks that a broker answers, and creates missing topics."""

    def __init__(self, bootstrap: str) -> None:
        self._client = admin_client(bootstrap)

    def __call__(self) -> None:
        """Raise `KafkaUnavailable` unless Kafka answers and has all topics."""
        self._client.poll(0)
        if missing_topics(self._client, 1.0):
            log.info("created Kafka topics: %s", ", ".join(create_topics(self._client)))
