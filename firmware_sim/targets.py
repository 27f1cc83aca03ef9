"""Targets that simulated readings can be sent to: the API, an MQTT broker, Kafka, or several of them."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Generator, Sequence
from datetime import UTC, datetime
from typing import Any, Protocol
from uuid import uuid4

import httpx
from confluent_kafka import KafkaError, KafkaException, Message, Producer

from firmware_sim.errors import TargetRefused, TargetUnavailable
from firmware_sim.mqtt.bracelet import MqttBracelet
from vitals import rules, topics
from vitals.quality import quality_score
from vitals.reading import Reading

log = logging.getLogger(__name__)

API_VERSION = "1.0.0"
_API_TIMEOUT_S = 10.0
_BACKOFF_S = (0.5, 1.0, 2.0, 5.0, 10.0)


class PatientPseudonyms(Protocol):
    """Replacement of patient identifiers by pseudonyms."""

    def pseudonym(self, patient_id: str) -> str:
        """Return the pseudonym of one patient."""


class Target(Protocol):
    """A destination of readings."""

    async def send(self, readings: Sequence[Reading]) -> None:
        """Deliver all readings durably; safe to repeat because each carries its `message_id`.

        Raises:
            TargetUnavailable: the target cannot be reached now; retry.
            TargetRefused: the target rejects the readings.
        """

    async def close(self) -> None:
        """Release connections."""


class _ClientCredentials(httpx.Auth):
    """Fetches an access token whenever the API wants one (RFC 6749, section 4.4)."""

    requires_response_body = True

    def __init__(self, url: str, client_id: str, secret: str) -> None:
        self._url, self._form = url, {"grant_type": "client_credentials", "client_id": client_id}
        self._form["client_secret"] = secret
        self._token = ""

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """See httpx.Auth."""
        for _ in range(2):
            if not self._token:
                granted = yield httpx.Request(
                    "POST", self._url, data=self._form, extensions=request.extensions
                )
                if granted.status_code != httpx.codes.OK:
                    return
                self._token = granted.json()["access_token"]
            request.headers["Authorization"] = f"Bearer {self._token}"
            answer = yield request
            if answer.status_code != httpx.codes.UNAUTHORIZED:
                return
            self._token = ""


class ApiTarget:
    """The ingestion API, in batches.

    Args:
        url: its base address.
        credentials: name and secret it is registered under; none where the API listens on loopback without.
    """

    def __init__(self, url: str, credentials: tuple[str, str] | None = None) -> None:
        self._url = url
        auth = _ClientCredentials(f"{url}/oauth/token", *credentials) if credentials else None
        self._client = httpx.AsyncClient(base_url=url, auth=auth, timeout=_API_TIMEOUT_S)

    async def send(self, readings: Sequence[Reading]) -> None:
        """POST one batch."""
        body = {"readings": [reading.to_wire() for reading in readings]}
        try:
            answer = await self._client.post("/iot/measurements", json=body)
        except httpx.TransportError as error:
            raise TargetUnavailable(f"API at {self._url}: {error or type(error).__name__}") from error
        if answer.status_code in (429, 502, 503, 504):
            raise TargetUnavailable(f"API at {self._url}: status {answer.status_code}")
        if answer.status_code != 200:
            raise TargetRefused(f"API at {self._url}: status {answer.status_code}: {answer.text[:300]}")
        document: dict[str, Any] = answer.json()
        if document["rejected"]:
            reasons = {str(result.get("error")) for result in document["results"] if result.get("error")}
            log.warning("the API rejected %d readings: %s", document["rejected"], "; ".join(sorted(reasons)))

    async def close(self) -> None:
        """Close connections."""
        await self._client.aclose()


class MqttTarget:
    """An MQTT broker; one connection for all bracelets."""

    def __init__(self, host: str, port: int) -> None:
        self._client = MqttBracelet("simulator", host, port)
        self._client.start()

    async def send(self, readings: Sequence[Reading]) -> None:
        """Publish and wait until all readings are acknowledged."""
        for reading in readings:
            self._client.publish(reading)
        while self._client.unacknowledged:  # noqa: ASYNC110 - the caller sets the deadline
            await asyncio.sleep(0.01)

    async def close(self) -> None:
        """Disconnect."""
        await self._client.stop()


class KafkaTarget:
    """Kafka without the API: publishes what the API would publish, including alerts.

    Args:
        bootstrap: brokers, `host:port,…`.
        pseudonyms: replaces patient identifiers, which must not reach Kafka.
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
        """Do nothing: `send` leaves nothing unsent."""

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
        """Deliver, retrying for as long as the target is unavailable."""
        attempt = 0
        while True:
            try:
                await self._target.send(readings)
                return
            except TargetUnavailable as error:
                log.log(logging.DEBUG if attempt else logging.WARNING, "%s; retrying", error)
                await asyncio.sleep(_BACKOFF_S[min(attempt, len(_BACKOFF_S) - 1)])
                attempt += 1

    async def close(self) -> None:
        """Close the target."""
        await self._target.close()


class CombinedTarget:
    """Several targets that get the same readings at the same time."""

    def __init__(self, targets: Sequence[Target]) -> None:
        self._targets = targets

    async def send(self, readings: Sequence[Reading]) -> None:
        """Deliver to all targets."""
        await asyncio.gather(*(target.send(readings) for target in self._targets))

    async def close(self) -> None:
        """Close all targets."""
        for target in self._targets:
            await target.close()


def _json(document: dict[str, Any]) -> bytes:
    return json.dumps(document).encode()
