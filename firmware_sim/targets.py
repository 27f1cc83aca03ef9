"""Services that simulated readings are sent to: the API, an MQTT broker, Kafka, or several at once."""

from __future__ import annotations

import asyncio
import json
import logging
import random
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Protocol
from uuid import uuid4

import httpx
from confluent_kafka import KafkaError, KafkaException, Message, Producer

from firmware_sim.errors import TargetRefused, TargetUnavailable
from firmware_sim.mqtt.bracelet import MqttBracelet
from runtime.oauth import ClientCredentials, TokenRequestFailed
from vitals import rules, topics
from vitals.backoff import Backoff
from vitals.quality import quality_score
from vitals.reading import Reading

log = logging.getLogger(__name__)

API_VERSION = "1.0.0"
_API_TIMEOUT_S = 10.0
_UNAVAILABLE = (429, 502, 503, 504)
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.5, 10.0


class PatientPseudonyms(Protocol):
    """Replacement of patient identifiers by pseudonyms."""

    def pseudonym(self, patient_id: str) -> str:
        """Return the pseudonym of one patient."""


class Target(Protocol):
    """A service that accepts readings."""

    async def send(self, readings: Sequence[Reading]) -> None:
        """Deliver readings durably; safe to repeat, as each carries its `message_id`.

        Raises:
            TargetUnavailable: the service cannot be reached now; retry.
            TargetRefused: the service does not accept them.
        """

    async def close(self) -> None:
        """Release connections."""


class ApiTarget:
    """The ingestion API.

    Args:
        url: its base URL.
        credentials: client id and secret; None for an API without authentication.
    """

    def __init__(self, url: str, credentials: tuple[str, str] | None = None) -> None:
        self._url = url
        self._client = httpx.AsyncClient(base_url=url, auth=_auth(url, credentials), timeout=_API_TIMEOUT_S)

    async def send(self, readings: Sequence[Reading]) -> None:
        """POST one batch."""
        body = {"readings": [reading.to_wire() for reading in readings]}
        try:
            response = await self._client.post("/iot/measurements", json=body)
        except httpx.TransportError as error:
            raise TargetUnavailable(f"API at {self._url}: {error or type(error).__name__}") from error
        except TokenRequestFailed as error:
            status = error.response.status_code if error.response is not None else None
            raise self._failure(status, str(error)) from error
        if response.status_code != httpx.codes.OK:
            status = response.status_code
            raise self._failure(status, f"status {status}: {response.text[:300]}")
        document: dict[str, Any] = response.json()
        if document["rejected"]:
            reasons = {str(result.get("error")) for result in document["results"] if result.get("error")}
            log.warning("the API rejected %d readings: %s", document["rejected"], "; ".join(sorted(reasons)))

    def _failure(self, status: int | None, reason: str) -> TargetUnavailable | TargetRefused:
        kind = TargetUnavailable if status in _UNAVAILABLE else TargetRefused
        return kind(f"API at {self._url}: {reason}")

    async def close(self) -> None:
        """Close connections."""
        await self._client.aclose()


class MqttTarget:
    """An MQTT broker, with one connection for all bracelets."""

    def __init__(self, host: str, port: int) -> None:
        self._client = MqttBracelet("simulator", host, port)
        self._client.start()

    async def send(self, readings: Sequence[Reading]) -> None:
        """Publish and wait until all readings are acknowledged."""
        for reading in readings:
            self._client.publish(reading)
        while self._client.unacknowledged:  # noqa: ASYNC110 - the caller sets a deadline
            await asyncio.sleep(0.01)

    async def close(self) -> None:
        """Disconnect."""
        await self._client.stop()


class KafkaTarget:
    """Kafka without the API: publishes what the API would publish, alerts included.

    Args:
        bootstrap: brokers, `host:port,…`.
        pseudonyms: replaces the patient identifiers, which must not reach Kafka.
        timeout_s: longest wait for acknowledgements.
    """

    def __init__(self, bootstrap: str, pseudonyms: PatientPseudonyms, timeout_s: float = 15.0) -> None:
        self._bootstrap, self._pseudonyms, self._timeout_s = bootstrap, pseudonyms, timeout_s
        self._producer = Producer(
            {
                "bootstrap.servers": bootstrap,
                "enable.idempotence": True,
                "linger.ms": 5,
                "delivery.timeout.ms": int(timeout_s * 1000),
                "log_level": 0,
            }
        )

    async def send(self, readings: Sequence[Reading]) -> None:
        """Publish and wait for the acknowledgement of all replicas."""
        failures: list[KafkaError] = []

        def delivered(error: KafkaError | None, _message: Message) -> None:
            if error is not None:
                failures.append(error)

        try:
            for reading in readings:
                for topic, key, value in self._messages(reading):
                    self._producer.produce(topic, value, key, on_delivery=delivered)
        except (BufferError, KafkaException) as error:
            raise TargetUnavailable(f"Kafka at {self._bootstrap}: {error}") from error
        remaining = await asyncio.to_thread(self._producer.flush, self._timeout_s + 5)
        if failures or remaining:
            reason = failures[0].str() if failures else "no response"
            raise TargetUnavailable(
                f"Kafka at {self._bootstrap}: {reason} (kidjamo-ingest topics creates the topics)"
            )

    async def close(self) -> None:
        """Do nothing: `send` leaves nothing in the producer."""

    def _messages(self, reading: Reading) -> list[tuple[str, bytes, bytes]]:
        identity = reading.message_id or uuid4()
        private = reading.model_copy(
            update={"patient_id": self._pseudonyms.pseudonym(reading.patient_id), "message_id": identity}
        )
        arrived = datetime.now(UTC).isoformat()
        key = private.patient_id.encode()
        measurement = private.to_wire() | {
            "ingestion_timestamp": arrived,
            "api_version": API_VERSION,
            "invalid_fields": list(reading.measurements.invalid_fields),
            "quality_score": quality_score(reading),
        }
        alerts = [
            record.model_dump(mode="json") | {"ingestion_timestamp": arrived}
            for record in rules.records(private, identity)
        ]
        return [(topics.MEASUREMENTS, key, _json(measurement))] + [
            (topics.ALERTS, key, _json(alert)) for alert in alerts
        ]


class RetryingTarget:
    """A target that is retried with back-off while it is unavailable."""

    def __init__(self, target: Target) -> None:
        self._target = target

    async def send(self, readings: Sequence[Reading]) -> None:
        """Deliver readings, retrying for as long as the target is unavailable."""
        backoff = Backoff(_FIRST_WAIT_S, _LONGEST_WAIT_S, random.random)
        while True:
            try:
                await self._target.send(readings)
                return
            except TargetUnavailable as error:
                level = logging.DEBUG if backoff.failures else logging.WARNING
                log.log(level, "%s; retrying", error)
                await asyncio.sleep(backoff.after_failure())

    async def close(self) -> None:
        """Close the target."""
        await self._target.close()


class CombinedTarget:
    """Several targets that get the same readings at the same time."""

    def __init__(self, targets: Sequence[Target]) -> None:
        self._targets = targets

    async def send(self, readings: Sequence[Reading]) -> None:
        """Deliver readings to all targets."""
        await asyncio.gather(*(target.send(readings) for target in self._targets))

    async def close(self) -> None:
        """Close all targets."""
        for target in self._targets:
            await target.close()


def _auth(url: str, credentials: tuple[str, str] | None) -> ClientCredentials | None:
    if credentials is None:
        return None
    client_id, secret = credentials
    return ClientCredentials(client_id, lambda: secret, f"{url}/oauth/token")


def _json(document: dict[str, Any]) -> bytes:
    return json.dumps(document).encode()
