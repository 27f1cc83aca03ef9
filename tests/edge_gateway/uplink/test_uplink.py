"""A reading stays pending until the API accepts it, however the API behaves."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from edge_gateway.config import ApiConfig
from edge_gateway.errors import BatchRejected, DeliveryFailed
from edge_gateway.outbox.outbox import Outbox
from edge_gateway.outbox.reading_queries import OutboxCounts, OutboxEntry
from edge_gateway.state import GatewayState
from edge_gateway.uplink import uplink as module
from edge_gateway.uplink.client import ApiClient
from edge_gateway.uplink.uplink import Uplink
from tests.edge_gateway.helpers import a_row
from tests.waiting import eventually

Handler = (
    Callable[[httpx.Request], httpx.Response]
    | Callable[[httpx.Request], Coroutine[None, None, httpx.Response]]
)


@pytest.fixture
def outbox(tmp_path: Path) -> Iterator[Outbox]:
    with Outbox(tmp_path / "outbox.sqlite3") as opened:
        yield opened


@pytest.fixture(autouse=True)
def _hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BACKOFF_CAP_S", 0.05)


def sent(request: httpx.Request, name: str = "readings") -> list[dict[str, Any]]:
    assert request.headers["Content-Encoding"] == "gzip"
    documents: list[dict[str, Any]] = json.loads(gzip.decompress(request.content))[name]
    return documents


def accept(request: httpx.Request) -> httpx.Response:
    results = [{"status": "accepted", "message_id": each["message_id"]} for each in sent(request)]
    return httpx.Response(200, json={"accepted": len(results), "rejected": 0, "results": results})


@asynccontextmanager
async def uplink_to(
    handler: Handler | str, outbox: Outbox, *, batch_size: int = 200, timeout_s: float = 1.0, **api: Any
) -> AsyncIterator[tuple[Uplink, GatewayState]]:
    url = handler if isinstance(handler, str) else "http://127.0.0.1:1"
    transport = None if isinstance(handler, str) else httpx.MockTransport(handler)
    client = ApiClient(ApiConfig(url=url, timeout_s=timeout_s, batch_size=batch_size, **api), transport)
    state = GatewayState("gw")
    uplink = Uplink(client, outbox, state, batch_size)
    tasks = [asyncio.create_task(uplink.run()), asyncio.create_task(uplink.run_dead_letters())]
    try:
        yield uplink, state
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await client.close()


def counted(outbox: Outbox, **expected: int) -> Callable[[], Any]:
    async def look() -> bool:
        counts = await outbox.counts()
        return all(getattr(counts, name) == value for name, value in expected.items())

    return look


async def test_batches_arrive_in_order_and_are_acknowledged(outbox: Outbox) -> None:
    rows = [a_row() for _ in range(25)]
    outbox.append(rows).result()
    requests: list[list[str]] = []

    def handler(request: httpx.Request) -> httpx.Response:
        requests.append([each["message_id"] for each in sent(request)])
        return accept(request)

    async with uplink_to(handler, outbox, batch_size=10) as (_, state):
        await eventually(counted(outbox, delivered=25))
        assert state.parts["api"] == "up"
    assert [len(batch) for batch in requests] == [10, 10, 5]
    assert [each for batch in requests for each in batch] == [str(row.message_id) for row in rows]


async def test_later_reading_is_sent_at_once(outbox: Outbox) -> None:
    async with uplink_to(accept, outbox) as (uplink, _):
        await asyncio.sleep(0.1)
        outbox.append([a_row()]).result()
        uplink.news.set()
        await eventually(counted(outbox, delivered=1))


async def test_rejected_reading_is_marked_with_its_reason_and_the_others_delivered(outbox: Outbox) -> None:
    outbox.append([a_row() for _ in range(3)]).result()

    def handler(request: httpx.Request) -> httpx.Response:
        results = [{"status": "accepted", "message_id": each["message_id"]} for each in sent(request)]
        results[1] |= {"status": "rejected", "error": "timestamp: is 400 s ahead"}
        return httpx.Response(200, json={"results": results})

    async with uplink_to(handler, outbox):
        await eventually(counted(outbox, delivered=2, rejected=1, pending=0))
    reasons = await outbox._ask(lambda db: db.execute("SELECT rejected_reason FROM readings").fetchall())
    assert reasons == [(None,), ("timestamp: is 400 s ahead",), (None,)]


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(503, headers={"Retry-After": "0"}),
        httpx.Response(500),
        httpx.Response(401),
        httpx.Response(404),
        httpx.Response(302, headers={"Location": "http://elsewhere.example/"}),
        httpx.Response(200, text="not json"),
        httpx.Response(200, json=[]),
        httpx.Response(200, json={"results": []}),
        httpx.Response(200, json={"results": [{"status": "accepted", "message_id": str(uuid4())}]}),
        httpx.Response(200, json={"results": [{"status": "perhaps"}]}),
        httpx.ConnectError("refused"),
        httpx.ReadTimeout("slow"),
        httpx.RemoteProtocolError("cut"),
    ],
)
async def test_reading_stays_pending_after_any_other_answer(
    outbox: Outbox, answer: httpx.Response | Exception
) -> None:
    outbox.append([a_row()]).result()
    calls = 0

    def handler(request: httpx.Request) -> httpx.Response:
        nonlocal calls
        calls += 1
        if calls <= 3:
            if isinstance(answer, Exception):
                raise answer
            return answer
        return accept(request)

    async with uplink_to(handler, outbox) as (_, state):
        await eventually(lambda: calls >= 3)
        await eventually(counted(outbox, delivered=1, rejected=0))
        assert state.counters.delivery_failures == 3


async def test_batch_refused_as_a_whole_is_split_until_only_the_faulty_reading_is_rejected(
    outbox: Outbox,
) -> None:
    rows = [a_row() for _ in range(9)]
    faulty = str(rows[5].message_id)
    outbox.append(rows).result()

    def handler(request: httpx.Request) -> httpx.Response:
        if any(each["message_id"] == faulty for each in sent(request)):
            return httpx.Response(422, json={"error": "invalid"})
        return accept(request)

    async with uplink_to(handler, outbox):
        await eventually(counted(outbox, delivered=8, rejected=1, pending=0))


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, BatchRejected),
        (413, BatchRejected),
        (422, BatchRejected),
        (500, BatchRejected),
        (502, BatchRejected),
        (401, DeliveryFailed),
        (404, DeliveryFailed),
        (429, DeliveryFailed),
        (503, DeliveryFailed),
    ],
)
async def test_only_statuses_that_a_reading_may_cause_reject_the_batch(
    status: int, kind: type[DeliveryFailed]
) -> None:
    transport = httpx.MockTransport(lambda _: httpx.Response(status, headers={"Retry-After": "7"}))
    client = ApiClient(ApiConfig(url="http://127.0.0.1:1"), transport)
    with pytest.raises(DeliveryFailed) as failed:
        await client.post_readings([OutboxEntry(1, "id", "{}")])
    await client.close()
    assert type(failed.value) is kind
    assert failed.value.retry_after_s == 7


async def test_dead_letters_go_to_their_own_route_once(outbox: Outbox) -> None:
    letters = [{"error_id": str(uuid4()), "reason": "not JSON"} for _ in range(3)]
    for letter in letters:
        outbox.append_dead_letter(uuid4(), json.dumps(letter)).result()
    received: list[dict[str, Any]] = []
    failing = [httpx.Response(503)]

    def handler(request: httpx.Request) -> httpx.Response:
        assert request.url.path == "/iot/errors"
        if failing:
            return failing.pop()
        received.extend(sent(request, "errors"))
        return httpx.Response(200, json={"accepted": 3})

    async with uplink_to(handler, outbox):
        await eventually(counted(outbox, dead_letters_pending=0))
    assert received == letters


async def test_retry_after_of_429_is_respected_and_nothing_is_lost(
    outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BACKOFF_CAP_S", 60.0)
    times: list[float] = []

    def handler(request: httpx.Request) -> httpx.Response:
        times.append(asyncio.get_running_loop().time())
        return httpx.Response(429, headers={"Retry-After": "2"}) if len(times) == 1 else accept(request)

    outbox.append([a_row() for _ in range(5)]).result()
    async with uplink_to(handler, outbox) as (_, state):
        await eventually(lambda: state.parts.get("api") == "away: HTTP 429")
        await eventually(counted(outbox, delivered=5, rejected=0))
    assert times[1] - times[0] >= 2


class MisbehavingApi:
    """A real server on loopback that answers 503, hangs or cuts connections before it works."""

    def __init__(self, *behaviours: str) -> None:
        self.behaviours = list(behaviours)
        self.performed: list[str] = []

    @asynccontextmanager
    async def serve(self, port: int = 0) -> AsyncIterator[int]:
        server = await asyncio.start_server(self._handle, "127.0.0.1", port)
        try:
            yield server.sockets[0].getsockname()[1]
        finally:
            server.close()

    async def _handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
                body = await reader.readexactly(length)
                behaviour = self.behaviours.pop(0) if self.behaviours else "good"
                self.performed.append(behaviour)
                if behaviour == "hang":
                    await asyncio.sleep(3600)
                if behaviour == "cut":
                    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{")
                    break
                writer.write(self._answer(behaviour, body))
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    @staticmethod
    def _answer(behaviour: str, body: bytes) -> bytes:
        if behaviour == "503":
            return b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 0\r\nContent-Length: 0\r\n\r\n"
        readings = json.loads(gzip.decompress(body))["readings"]
        results = [{"status": "accepted", "message_id": each["message_id"]} for each in readings]
        payload = json.dumps({"results": results}).encode()
        return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(payload), payload)


async def test_misbehaving_server_loses_nothing(outbox: Outbox) -> None:
    server = MisbehavingApi("503", "hang", "cut", "good", "503", "cut")
    outbox.append([a_row() for _ in range(40)]).result()
    async with server.serve() as port:
        pass  # now the port refuses connections
    async with uplink_to(f"http://127.0.0.1:{port}", outbox, batch_size=10, timeout_s=0.3) as (_, state):
        await eventually(lambda: state.counters.delivery_failures >= 2)
        assert await outbox.counts() == OutboxCounts(committed=40, pending=40)
        async with server.serve(port):
            await eventually(counted(outbox, delivered=40, pending=0))
    assert server.performed[:6] == ["503", "hang", "cut", "good", "503", "cut"]


async def test_new_reading_is_sent_before_the_backlog(outbox: Outbox) -> None:
    outbox.append([a_row() for _ in range(300)]).result()
    fresh = a_row()
    requests: list[list[str]] = []

    async def handler(request: httpx.Request) -> httpx.Response:
        requests.append([each["message_id"] for each in sent(request)])
        await asyncio.sleep(0.02)
        if len(requests) == 3:
            await asyncio.wrap_future(outbox.append([fresh]))
            uplink.news.set()
        return accept(request)

    async with uplink_to(handler, outbox, batch_size=10) as (uplink, _):
        await eventually(counted(outbox, delivered=301))
    places = [number for number, batch in enumerate(requests) if str(fresh.message_id) in batch]
    assert places in ([3], [4], [5])


async def test_after_an_outage_the_newest_are_sent_first_and_each_reading_once(outbox: Outbox) -> None:
    requests: list[list[str]] = []
    down = True

    def handler(request: httpx.Request) -> httpx.Response:
        if down:
            raise httpx.ConnectError("refused")
        requests.append([each["message_id"] for each in sent(request)])
        return accept(request)

    async with uplink_to(handler, outbox, batch_size=10) as (uplink, state):
        await asyncio.sleep(0.1)
        rows = [a_row() for _ in range(95)]
        outbox.append(rows).result()
        uplink.news.set()
        await eventually(lambda: state.undelivered_since)
        down = False
        await eventually(counted(outbox, delivered=95))
        assert state.undelivered_since is None
    first_with_newest = next(n for n, batch in enumerate(requests) if str(rows[-1].message_id) in batch)
    assert first_with_newest <= 4, "at the next attempt, concurrently with the backlog"
    delivered = [each for batch in requests for each in batch]
    assert sorted(delivered) == sorted(str(row.message_id) for row in rows)
