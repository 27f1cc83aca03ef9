"""Is Kafka there, with our topics? Asked in the background, over and over, so that no request has to."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from concurrent.futures import Future

from confluent_kafka import KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._listoffsets import OffsetSpec
from confluent_kafka.cimpl import NewTopic

from cloud_ingest.errors import KafkaUnavailable
from vitals.topics import KAFKA_TOPICS

log = logging.getLogger(__name__)

PARTITIONS = 3

Place = tuple[str, int]
"""Topic and partition."""


def admin_client(bootstrap: str) -> AdminClient:
    """A client for topics that reconnects quickly."""
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
    """Create those of the four topics that are missing, with three partitions each.

    Returns:
        the topics created.

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
    """Which of the four topics a broker does not have.

    Raises:
        KafkaUnavailable: no answer in `timeout` seconds.
    """
    try:
        known = client.list_topics(timeout=timeout).topics
    except KafkaException as error:
        raise KafkaUnavailable(error.args[0].str()) from None
    return [topic for topic in KAFKA_TOPICS if topic not in known]


def partitions_of_topics(client: AdminClient, timeout: float = 5.0) -> dict[str, int]:
    """How many partitions each of the four topics has, once the broker knows of it.

    Raises:
        KafkaUnavailable: no answer in `timeout` seconds.
    """
    try:
        known = client.list_topics(timeout=timeout).topics
    except KafkaException as error:
        raise KafkaUnavailable(error.args[0].str()) from None
    return {topic: len(known[topic].partitions) for topic in KAFKA_TOPICS if topic in known}


def end_offsets(client: AdminClient, places: Iterable[Place], timeout: float) -> dict[Place, int]:
    """The offset the next message gets, by topic and partition.

    Raises:
        KafkaUnavailable: no answer in `timeout` seconds.
    """
    latest = OffsetSpec.latest()  # type: ignore[no-untyped-call]
    wanted = {TopicPartition(topic, partition): latest for topic, partition in places}
    if not wanted:
        return {}
    futures = client.list_offsets(wanted, request_timeout=timeout)
    try:
        found = {place: future.result(timeout).offset for place, future in futures.items()}
    except (KafkaException, TimeoutError) as error:
        raise KafkaUnavailable(f"no offsets: {type(error).__name__}") from None
    return {(place.topic, place.partition): offset for place, offset in found.items()}


class KafkaProbe:
    """Asks a broker for our topics, and makes those that are missing."""

    def __init__(self, bootstrap: str) -> None:
        self._client = admin_client(bootstrap)

    def __call__(self) -> None:
        """Raise `KafkaUnavailable` unless Kafka is there with all topics."""
        self._client.poll(0)
        if missing_topics(self._client, 1.0):
            log.info("created Kafka topics: %s", ", ".join(create_topics(self._client)))
