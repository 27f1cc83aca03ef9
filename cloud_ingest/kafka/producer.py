"""Kafka's producer: records out, acknowledgements back into asyncio.

confluent-kafka's synchronous producer with one thread that polls it. The thread counts acknowledgements and
wakes the event loop once per group of records, not once per record. acks=all and idempotence keep what was
sent in order and single; every record's fate is known within `DELIVERY_TIMEOUT_S`.
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

# A denied topic is not among them: the record is well, and goes once the ACL is repaired.
_PERMANENT = frozenset(
    {
        KafkaError.MSG_SIZE_TOO_LARGE,
        KafkaError.INVALID_MSG,
        KafkaError.INVALID_RECORD,
        KafkaError._INVALID_ARG,
    }
)


def producer_settings(bootstrap: str) -> dict[str, Any]:
    """librdkafka's settings for a producer that loses nothing and never waits long."""
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
        "allow.auto.create.topics": False,  # a topic made by accident would have the broker's partition count
        "queue.buffering.max.kbytes": 65536,
        "log.connection.close": False,
        "log_level": 2,  # its many words on a broker that is away; what matters is logged by the callers
    }


class Ticket:
    """The fate of a group of records, filled in by the polling thread.

    Attributes:
        done: set on the event loop once every record is acknowledged or given up.
        acknowledged: one byte a record, 1 where Kafka has it.
        refused: reason by index of the records Kafka will never take.
        failure: why a record was given up that may be sent again; empty while none was.
    """

    def __init__(self, count: int) -> None:
        self._loop = asyncio.get_running_loop()
        self.done: asyncio.Future[None] = self._loop.create_future()
        self.acknowledged = bytearray(count)
        self.refused: dict[int, str] = {}
        self.failure = ""
        self._count = count
        self._settled = itertools.count(1).__next__  # atomic: two threads settle
        if not count:
            self.done.set_result(None)

    def settle(self, index: int, error: KafkaError | None) -> None:
        """Note the fate of one record; called from any thread, once a record."""
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
        """Indices of the records not acknowledged so far."""
        if all(self.acknowledged):
            return []
        return [index for index, acknowledged in enumerate(self.acknowledged) if not acknowledged]


class Publisher:
    """A producer and the thread that polls it.

    Attributes:
        acknowledged: records Kafka has acknowledged since the start, counted as its answers come in.

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
        """Hand records to the producer, in order; returns at once."""
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
        """Records handed over whose fate is open."""
        return len(self._producer)

    def close(self, timeout: float = DELIVERY_TIMEOUT_S) -> None:
        """Wait for what is under way, at most `timeout` seconds, then stop polling."""
        self._stopping.set()
        self._thread.join(2)
        self._producer.flush(timeout)

    def _poll(self) -> None:
        while not self._stopping.is_set():
            self._producer.poll(0.1)
            if self._fatal.is_set():
                self._replace()

    def _replace(self) -> None:
        """A producer with a fatal error takes nothing any more: fail what it holds, start afresh."""
        broken, self._producer = self._producer, Producer(self._settings)
        self._fatal.clear()
        broken.purge()
        broken.flush(2)

    def _on_error(self, error: KafkaError) -> None:
        if error.fatal() or error.code() == KafkaError._FATAL:
            log.error("kafka producer failed for good, starting another: %s", error.str())
            self._fatal.set()
        else:
            log.debug("kafka producer: %s", error.str())

    def _delivered(self, ticket: Ticket, index: int, error: KafkaError | None, _message: Message) -> None:
        if error is None:
            self.acknowledged += 1
        ticket.settle(index, error)
