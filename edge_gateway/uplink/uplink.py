"""Batches from the outbox to the ingestion API; a row leaves the outbox only when the API says it has it."""

from __future__ import annotations

import asyncio
import gzip
import logging
import random
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime

import httpx
from pydantic import ValidationError

from edge_gateway.config import ApiConfig
from edge_gateway.errors import DeliveryFailed
from edge_gateway.outbox.outbox import Outbox
from edge_gateway.outbox.reading_queries import OutboxEntry
from edge_gateway.state import GatewayState
from edge_gateway.uplink.oauth import credentials_of, retry_after
from vitals.backoff import Backoff
from vitals.heartbeat import Acknowledged, Heartbeat

log = logging.getLogger(__name__)

BACKOFF_CAP_S = 60.0
_CONNECT_S = 5.0
_MOST_BYTES = 4 * 2**20
"""Of one request before compression; the API takes 8 MiB compressed."""
_DEAD_LETTERS_AT_ONCE = 50
_SPLITTABLE = {400, 413, 422, 500}


@dataclass(frozen=True, slots=True)
class DeliveryResult:
    """What the API made of a batch: rows it has, and rows it refuses for good with its reason."""

    accepted: tuple[int, ...]
    rejected: tuple[tuple[int, str], ...]


class ApiClient:
    """The routes a gateway posts to.

    Args:
        transport: replaces the network, for tests.
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
            DeliveryFailed: nothing of the batch may be taken as delivered.
        """
        answer = await self._post("/iot/measurements", _listed("readings", batch))
        results = _json_object(answer).get("results")
        if not isinstance(results, list) or len(results) != len(batch):
            raise DeliveryFailed("the API did not answer for each reading")
        return _verdict(batch, results)

    async def post_errors(self, batch: Sequence[OutboxEntry]) -> None:
        """Deliver dead letters.

        Raises:
            DeliveryFailed: they are to be sent again.
        """
        await self._post("/iot/errors", _listed("errors", batch))

    async def post_heartbeat(self, heartbeat: Heartbeat) -> tuple[Acknowledged, ...]:
        """Send a sign of life; returns acknowledgements made in the cloud.

        Raises:
            DeliveryFailed: it did not arrive, or the answer makes no sense.
        """
        answer = await self._post("/iot/heartbeat", heartbeat.model_dump_json())
        made = _json_object(answer).get("acknowledgements", [])
        try:
            return tuple(
                Acknowledged.model_validate(each) for each in (made if isinstance(made, list) else [])
            )
        except ValidationError as error:
            raise DeliveryFailed("the API answered a heartbeat with no acknowledgements") from error

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
            raise _refusal(answer)
        return answer


def _listed(name: str, batch: Sequence[OutboxEntry]) -> str:
    return f'{{"{name}":[{",".join(entry.body for entry in batch)}]}}'


def _refusal(answer: httpx.Response) -> DeliveryFailed:
    return DeliveryFailed(
        f"HTTP {answer.status_code}", retry_after(answer), splittable=answer.status_code in _SPLITTABLE
    )


def _json_object(answer: httpx.Response) -> dict[str, object]:
    try:
        document = answer.json()
    except ValueError:
        document = None
    if not isinstance(document, dict):
        raise DeliveryFailed("the API answered with something other than a JSON object")
    return document


def _verdict(batch: Sequence[OutboxEntry], results: list[object]) -> DeliveryResult:
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
                log.warning("the API neither accepted nor rejected a reading: it will be sent again")
    if not accepted and not rejected:
        raise DeliveryFailed("the API accepted and rejected nothing")
    return DeliveryResult(tuple(accepted), tuple(rejected))


class Uplink:
    """Delivers what is pending in two lanes at once, until cancelled: what comes in now, and the backlog.

    The backlog is everything up to a boundary. It moves up whenever more has come in than one request of the
    live lane carries, as after an outage: the newest readings always leave first. Of the backlog, critical
    readings leave first, then the others from the oldest on. Within a lane, the order of each bracelet holds.

    Attributes:
        news: to be set when the outbox has something new.
    """

    def __init__(self, api: ApiClient, outbox: Outbox, state: GatewayState, batch_size: int) -> None:
        self._api, self._outbox, self._state, self._most = api, outbox, state, batch_size
        self.news, self.dead_letter_news = asyncio.Event(), asyncio.Event()
        self._backlog_news, self._works = asyncio.Event(), asyncio.Event()
        self._boundary = 0

    async def run(self) -> None:
        """Deliver readings."""
        self._boundary = await self._outbox.newest()
        async with asyncio.TaskGroup() as lanes:
            lanes.create_task(self._lane(self._peek_live, self.news), name="live lane")
            lanes.create_task(self._lane(self._peek_backlog, self._backlog_news), name="backlog lane")

    async def _peek_live(self, limit: int) -> list[OutboxEntry]:
        batch = await self._outbox.peek_live(self._boundary, limit)
        if len(batch) == limit:
            self._boundary = batch[0].id - 1
            self._backlog_news.set()
        return batch

    async def _peek_backlog(self, limit: int) -> list[OutboxEntry]:
        return await self._outbox.peek_backlog(self._boundary, limit)

    async def _lane(self, peek: Callable[[int], Awaitable[list[OutboxEntry]]], news: asyncio.Event) -> None:
        backoff = Backoff(1.0, BACKOFF_CAP_S, random.random)
        size = self._most
        while True:
            news.clear()
            batch = _within_bytes(await peek(size))
            if not batch:
                await news.wait()
                continue
            try:
                verdict = await self._api.post_readings(batch)
            except DeliveryFailed as error:
                if error.splittable and len(batch) == 1 and str(error) != "HTTP 500":
                    verdict = DeliveryResult((), ((batch[0].id, f"the API refuses it alone: {error}"),))
                else:
                    size = max(1, len(batch) // 2) if error.splittable else size
                    await self._pause(backoff, error)
                    continue
            await self._settle(batch, verdict)
            size = min(self._most, 2 * size)
            self._up(backoff)

    async def run_dead_letters(self) -> None:
        """Deliver dead letters."""
        backoff = Backoff(1.0, BACKOFF_CAP_S, random.random)
        while True:
            self.dead_letter_news.clear()
            batch = _within_bytes(await self._outbox.peek_dead_letters(_DEAD_LETTERS_AT_ONCE))
            if not batch:
                await self.dead_letter_news.wait()
                continue
            try:
                await self._api.post_errors(batch)
            except DeliveryFailed as error:
                log.debug("dead letters not delivered: %s", error)
                await asyncio.sleep(max(backoff.after_failure(), _asked(error)))
                continue
            await self._outbox.acknowledge_dead_letters([entry.id for entry in batch])
            backoff.reset()

    async def _settle(self, batch: Sequence[OutboxEntry], verdict: DeliveryResult) -> None:
        devices = {entry.id: entry.identity for entry in batch}
        for row, reason in verdict.rejected:
            log.warning("the API rejected reading %s: %s", devices[row], reason)
        await self._outbox.settle(verdict.accepted, verdict.rejected)

    async def _pause(self, backoff: Backoff, error: DeliveryFailed) -> None:
        level = logging.DEBUG if backoff.failures else logging.WARNING
        wait = max(backoff.after_failure(), _asked(error))
        self._state.counters.delivery_failures += 1
        self._state.part("api", f"away: {error}")
        self._state.undelivered_since = self._state.undelivered_since or datetime.now(UTC)
        log.log(level, "API: %s; readings wait in the outbox, next try in %.1f s", error, wait)
        self._works.clear()
        with suppress(TimeoutError):  # what works for one lane is worth trying for the other
            async with asyncio.timeout(wait):
                await self._works.wait()

    def _up(self, backoff: Backoff) -> None:
        if backoff.failures:
            log.warning("API takes readings again")
        backoff.reset()
        self._works.set()
        self._state.part("api", "up")
        self._state.undelivered_since = None


def _asked(error: DeliveryFailed) -> float:
    return min(BACKOFF_CAP_S, error.retry_after_s or 0.0)


def _within_bytes(batch: list[OutboxEntry]) -> list[OutboxEntry]:
    """As much of a batch as one request may carry, at least one entry."""
    size, kept = 0, 0
    for entry in batch:
        size += len(entry.body)
        if kept and size > _MOST_BYTES:
            break
        kept += 1
    return batch[:kept]
