"""Kafka producer with asyncio: sends records and reports their acknowledgements.

confluent-kafka's synchronous producer, polled by one thread. The thread counts acknowledgements and wakes the
event loop once per group of records, not once per record. With acks=all and idempotence records keep their
order and are not duplicated; each is acknowledged or given up within `DELIVERY_TIMEOUT_S`.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import threading
from collections.abc import Sequence
from functools import partial
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from cloud_ingest.kafka.record import Record

log = logging.getLogger(__name__)

DELIVERY_TIMEOUT_S = 3.0

# A denied topic is not permanent: the record is valid and can be sent once the ACL is repaired.
_PERMANENT = frozenset(
    {
        KafkaError.MSG_SIZE_TOO_LARGE,
        KafkaError.INVALID_MSG,
        KafkaError.INVALID_RECORD,
        KafkaError._INVALID_ARG,
    }
)


def producer_settings(bootstrap: str) -> dict[str, Any]:
    """Return librdkafka's settings for a producer that loses no record and never blocks for long."""
    return {
        "bootstrap.servers": bootstrap,
        "client.id": "kidjamo-ingest",
        "acks": "all",
        "enable.idempotence": True,
        "delivery.timeout.ms": int(DELIVERY_TIMEOUT_S * 1000),
        "request.timeout.ms": 2000,
        "socket.timeout.ms": 3000,
        "socket.connection.setup.timeout.ms": 2000,
        "reconnect.backoff.ms": 200,
        "reconnect.backoff.max.ms": 500,
        "retry.backoff.ms": 50,
        "linger.ms": 0.5,
        "partitioner": "murmur2_random",  # the Java clients' choice, so that every producer agrees
        "allow.auto.create.topics": False,  # such a topic would have the broker's partition count
        "queue.buffering.max.kbytes": 65536,
        "log.connection.close": False,
        "log_level": 2,  # librdkafka logs much while a broker is down; callers log what matters
    }


class Ticket:
    """Delivery state of a group of records, filled in by the polling thread.

    Attributes:
        done: resolved on the event loop once every record is acknowledged or given up.
        acknowledged: one byte per record, 1 where Kafka has acknowledged it.
        refused: reason, by index, of records that Kafka will never accept.
        failure: reason of the last record that was given up and can be sent again; empty if there is none.
    """

    def __init__(self, count: int) -> None:
        self._loop = asyncio.get_running_loop()
        self.done: asyncio.Future[None] = self._loop.create_future()
        self.acknowledged = bytearray(count)
        self.refused: dict[int, str] = {}
        self.failure = ""
        self._count = count
        self._settled = itertools.count(1).__next__  # atomic: called from two threads
        if not count:
            self.done.set_result(None)

    def settle(self, index: int, error: KafkaError | None) -> None:
        """Record that one record was acknowledged or given up; called once per record, from any thread."""
        if error is None:
            self.acknowledged[index] = 1
        elif error.code() in _PERMANENT:
            self.refused[index] = error.str()
        else:
            self.failure = error.str()
        if self._settled() == self._count and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._finish)

    def _finish(self) -> None:
        if not self.done.done():
            self.done.set_result(None)

    def missing(self) -> list[int]:
        """Return the indices of the records not acknowledged so far."""
        if all(self.acknowledged):
            return []
        return [index for index, acknowledged in enumerate(self.acknowledged) if not acknowledged]


class Publisher:
    """A producer and the thread that polls it.

    Attributes:
        acknowledged: number of records acknowledged since the start.

    Args:
        bootstrap: Kafka's brokers.
    """

    def __init__(self, bootstrap: str) -> None:
        self._settings = producer_settings(bootstrap) | {"error_cb": self._on_error, "logger": log}
        self._producer = Producer(self._settings)
        self.acknowledged = 0
        self._fatal = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._poll, name="kafka-producer", daemon=True)
        self._thread.start()

    def send(self, records: Sequence[Record]) -> Ticket:
        """Send records in order; return at once."""
        ticket = Ticket(len(records))
        produce, delivered = self._producer.produce, self._delivered
        for index, record in enumerate(records):
            try:
                produce(record.topic, record.value, record.key, on_delivery=partial(delivered, ticket, index))
            except BufferError:
                ticket.settle(index, KafkaError(KafkaError._QUEUE_FULL))
            except KafkaException as error:
                ticket.settle(index, error.args[0])
        return ticket

    def waiting(self) -> int:
        """Return the number of records neither acknowledged nor given up."""
        return len(self._producer)

    def close(self, timeout: float = DELIVERY_TIMEOUT_S) -> None:
        """Stop polling and wait at most `timeout` seconds for records in flight."""
        self._stopping.set()
        self._thread.join(2)
        self._producer.flush(timeout)

    def _poll(self) -> None:
        while not self._stopping.is_set():
            self._producer.poll(0.1)
            if self._fatal.is_set():
                self._replace()

    def _replace(self) -> None:
        """Replace a producer that had a fatal error: it fails its records and accepts no more."""
        broken, self._producer = self._producer, Producer(self._settings)
        self._fatal.clear()
        broken.purge()
        broken.flush(2)

    def _on_error(self, error: KafkaError) -> None:
        if error.fatal() or error.code() == KafkaError._FATAL:
            log.error("fatal error of the Kafka producer, replacing it: %s", error.str())
            self._fatal.set()
        else:
            log.debug("Kafka producer: %s", error.str())

    def _delivered(self, ticket: Ticket, index: int, error: KafkaError | None, _message: Message) -> None:
        if error is None:
            self.acknowledged += 1
        ticket.settle(index, error)
