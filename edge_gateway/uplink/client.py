"""HTTP client of the ingestion API: requests, answers and errors."""

from __future__ import annotations

import asyncio
import gzip
import logging
from collections.abc import Sequence
from dataclasses import dataclass

import httpx
from pydantic import ValidationError

from edge_gateway.config import ApiConfig
from edge_gateway.errors import BatchRejected, DeliveryFailed
from edge_gateway.outbox.reading_queries import OutboxEntry
from edge_gateway.uplink.oauth import credentials_of, retry_after
from vitals.heartbeat import Acknowledged, Heartbeat

log = logging.getLogger(__name__)

_CONNECT_S = 5.0
_BATCH_REJECTED = frozenset({400, 413, 422, *range(500, 600)}) - {503}
"""Statuses that one reading of a batch may cause. 503 asks to send the same batch later."""


@dataclass(frozen=True, slots=True)
class DeliveryResult:
    """The API's answer to a batch.

    Attributes:
        accepted: rows that the API has stored.
        rejected: rows that the API refuses for good, with its reason.
    """

    accepted: tuple[int, ...]
    rejected: tuple[tuple[int, str], ...]


class ApiClient:
    """Client for the routes to which a gateway posts.

    Args:
        transport: replaces the network in tests.
    """

    def __init__(self, config: ApiConfig, transport: httpx.AsyncBaseTransport | None = None) -> None:
        self._config = config
        self._client = httpx.AsyncClient(
            base_url=config.url,
            verify=httpx.create_ssl_context(verify=str(config.ca_file)) if config.ca_file else True,
            timeout=httpx.Timeout(config.timeout_s, connect=min(_CONNECT_S, config.timeout_s)),
            headers={"Content-Type": "application/json", "Content-Encoding": "gzip"},
            auth=credentials_of(config),
            trust_env=not config.loopback,
            transport=transport,
        )

    async def close(self) -> None:
        """Close connections."""
        await self._client.aclose()

    async def post_readings(self, batch: Sequence[OutboxEntry]) -> DeliveryResult:
        """Deliver readings.

        Raises:
            BatchRejected: the API refuses the batch as a whole, or fails on it.
            DeliveryFailed: no reading of the batch counts as delivered.
        """
        answer = await self._post("/iot/measurements", _body("readings", batch))
        results = _json_object(answer).get("results")
        if not isinstance(results, list) or len(results) != len(batch):
            raise DeliveryFailed("the API did not answer for each reading")
        return _result_of(batch, results)

    async def post_errors(self, batch: Sequence[OutboxEntry]) -> None:
        """Deliver dead letters.

        Raises:
            BatchRejected: the API refuses the batch as a whole, or fails on it.
            DeliveryFailed: the batch must be sent again.
        """
        await self._post("/iot/errors", _body("errors", batch))

    async def post_heartbeat(self, heartbeat: Heartbeat) -> tuple[Acknowledged, ...]:
        """Send a heartbeat and return the acknowledgements made in the cloud.

        Raises:
            DeliveryFailed: the API did not accept it, or its answer is invalid.
        """
        answer = await self._post("/iot/heartbeat", heartbeat.model_dump_json())
        made = _json_object(answer).get("acknowledgements", [])
        try:
            return tuple(
                Acknowledged.model_validate(each) for each in (made if isinstance(made, list) else [])
            )
        except ValidationError as error:
            raise DeliveryFailed("the API's answer to a heartbeat holds invalid acknowledgements") from error

    async def _post(self, path: str, body: str) -> httpx.Response:
        packed = gzip.compress(body.encode(), compresslevel=3)
        try:
            async with asyncio.timeout(self._config.timeout_s + _CONNECT_S):
                answer = await self._client.post(path, content=packed)
        except TimeoutError:
            raise DeliveryFailed(f"no answer within {self._config.timeout_s:g} s") from None
        except httpx.TimeoutException as error:
            raise DeliveryFailed(f"no answer in time ({type(error).__name__})") from error
        except (httpx.HTTPError, OSError) as error:
            raise DeliveryFailed(f"{type(error).__name__}: {error}") from error
        if answer.status_code != httpx.codes.OK:
            raise _error_of(answer)
        return answer


def _body(name: str, batch: Sequence[OutboxEntry]) -> str:
    return f'{{"{name}":[{",".join(entry.body for entry in batch)}]}}'


def _error_of(answer: httpx.Response) -> DeliveryFailed:
    kind = BatchRejected if answer.status_code in _BATCH_REJECTED else DeliveryFailed
    return kind(f"HTTP {answer.status_code}", retry_after(answer))


def _json_object(answer: httpx.Response) -> dict[str, object]:
    try:
        document = answer.json()
    except ValueError:
        document = None
    if not isinstance(document, dict):
        raise DeliveryFailed("the API answered with something other than a JSON object")
    return document


def _result_of(batch: Sequence[OutboxEntry], results: list[object]) -> DeliveryResult:
    accepted: list[int] = []
    rejected: list[tuple[int, str]] = []
    for entry, result in zip(batch, results, strict=True):
        match result:
            case {"message_id": str(identity)} if identity != entry.identity:
                raise DeliveryFailed("the API answered for other readings than it was sent")
            case {"status": "accepted"}:
                accepted.append(entry.id)
            case {"status": "rejected", "error": reason}:
                rejected.append((entry.id, str(reason)))
            case _:
                log.warning("the API neither accepted nor rejected a reading: it is sent again")
    if not accepted and not rejected:
        raise DeliveryFailed("the API accepted and rejected nothing")
    return DeliveryResult(tuple(accepted), tuple(rejected))
