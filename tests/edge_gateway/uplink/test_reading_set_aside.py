"""A reading on which the API always fails is set aside; an outage sets nothing aside.

The uplink is the real one, and so is the HTTP server; the server answers 500 to chosen readings.
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from uuid import UUID

import pytest

from edge_gateway.config import ApiConfig
from edge_gateway.outbox.outbox import Outbox
from edge_gateway.outbox.reading_queries import NewReading
from edge_gateway.state import GatewayState
from edge_gateway.uplink import uplink as module
from edge_gateway.uplink.client import ApiClient
from edge_gateway.uplink.uplink import Uplink
from tests.edge_gateway.helpers import a_reading, a_row
from tests.link.upstream import Upstream, an_upstream
from tests.waiting import eventually


@pytest.fixture
def outbox(tmp_path: Path) -> Iterator[Outbox]:
    with Outbox(tmp_path / "outbox.sqlite3") as opened:
        yield opened


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    async with an_upstream() as serving:
        yield serving


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BACKOFF_CAP_S", 0.05)


@asynccontextmanager
async def delivering(
    upstream: Upstream, outbox: Outbox, batch_size: int = 10
) -> AsyncIterator[tuple[Uplink, GatewayState]]:
    client, state = ApiClient(ApiConfig(url=upstream.url, batch_size=batch_size)), GatewayState("gw-test")
    uplink = Uplink(client, outbox, state, batch_size)
    running = asyncio.gather(uplink.run(), uplink.run_dead_letters())
    try:
        yield uplink, state
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await client.close()


async def append(outbox: Outbox, uplink: Uplink, *rows: NewReading) -> None:
    await asyncio.wrap_future(outbox.append(rows))
    uplink.news.set()


def a_critical_row() -> NewReading:
    reading = a_reading(spo2_pct=80.0)
    assert reading.message_id
    return NewReading(
        reading.message_id, reading.device_id, reading.model_dump_json(exclude_none=True), critical=True
    )


async def delivered(outbox: Outbox, number: int) -> bool:
    return (await outbox.counts()).delivered == number


async def set_aside(outbox: Outbox, number: int) -> bool:
    counts = await outbox.counts()
    return counts.rejected == number and counts.dead_letters_pending == 0


async def pending_letters(outbox: Outbox, number: int) -> bool:
    return (await outbox.counts()).dead_letters_pending == number


async def stored(outbox: Outbox, row: NewReading) -> tuple[str, str | None]:
    """Return body and reason that the outbox keeps of a reading."""
    found: tuple[str, str | None] = await outbox._ask(
        lambda db: db.execute(
            "SELECT body, rejected_reason FROM readings WHERE message_id = ?", (str(row.message_id),)
        ).fetchone()
    )
    return found


@pytest.mark.parametrize("place", [0, 17, 29])
async def test_reading_that_always_gets_500_is_set_aside_and_the_others_delivered(
    outbox: Outbox, upstream: Upstream, place: int
) -> None:
    rows = [a_row() for _ in range(29)]
    faulty = a_critical_row()
    rows.insert(place, faulty)
    outbox.append(rows).result()
    upstream.fails_on.add(str(faulty.message_id))
    async with delivering(upstream, outbox) as (_, state):
        await eventually(lambda: delivered(outbox, 29))
        await eventually(lambda: set_aside(outbox, 1))
        assert state.parts["api"] == "up"
        assert state.undelivered_since is None
    assert upstream.accepted.keys() == {str(row.message_id) for row in rows if row is not faulty}
    body, reason = await stored(outbox, faulty)
    assert body == faulty.body
    assert reason is not None
    assert "HTTP 500" in reason
    (letter,) = upstream.errors
    assert base64.b64decode(letter["original"]).decode() == faulty.body
    assert (letter["device_id"], letter["gateway_id"]) == ("bracelet-001", "gw-test")
    assert letter["reason"] == reason
    assert upstream.requests < 60


async def test_new_readings_are_delivered_while_the_faulty_one_is_retried(
    outbox: Outbox, upstream: Upstream
) -> None:
    faulty = a_row()
    upstream.fails_on.add(str(faulty.message_id))
    async with delivering(upstream, outbox) as (uplink, _):
        await append(outbox, uplink, faulty)
        for number in range(1, 11):
            await append(outbox, uplink, a_row())
            await eventually(partial(delivered, outbox, number))
        await eventually(lambda: set_aside(outbox, 1))


async def test_many_faulty_readings_in_a_row_are_all_set_aside(outbox: Outbox, upstream: Upstream) -> None:
    rows = [a_row() for _ in range(40)]
    faulty = rows[:12] + rows[20:23]
    outbox.append(rows).result()
    upstream.fails_on |= {str(row.message_id) for row in faulty}
    async with delivering(upstream, outbox):
        await eventually(lambda: delivered(outbox, 25))
        await eventually(lambda: set_aside(outbox, 15))
    assert len(upstream.errors) == 15


async def test_outage_in_which_every_request_gets_500_sets_nothing_aside(
    outbox: Outbox, upstream: Upstream
) -> None:
    async with delivering(upstream, outbox) as (uplink, state):
        await append(outbox, uplink, a_row())
        await eventually(lambda: delivered(outbox, 1))
        upstream.broken = True
        await append(outbox, uplink, *[a_row() for _ in range(30)])
        await eventually(lambda: upstream.requests > 40)
        assert state.parts["api"] == "away: HTTP 500"
        upstream.broken = False
        await eventually(lambda: delivered(outbox, 31))
    counts = await outbox.counts()
    assert (counts.rejected, counts.dead_letters) == (0, 0)


async def test_outage_from_the_first_start_on_sets_nothing_aside(outbox: Outbox, upstream: Upstream) -> None:
    outbox.append([a_row() for _ in range(30)]).result()
    upstream.broken = True
    async with delivering(upstream, outbox):
        await eventually(lambda: upstream.requests > 40)
        upstream.broken = False
        await eventually(lambda: delivered(outbox, 30))
    counts = await outbox.counts()
    assert (counts.rejected, counts.dead_letters) == (0, 0)


async def test_faulty_reading_is_kept_while_the_api_accepts_no_other(
    outbox: Outbox, upstream: Upstream
) -> None:
    faulty = a_row()
    upstream.fails_on.add(str(faulty.message_id))
    async with delivering(upstream, outbox) as (uplink, _):
        await append(outbox, uplink, faulty)
        await eventually(lambda: upstream.requests > 10)
        assert (await outbox.counts()).pending == 1
        await append(outbox, uplink, a_row())
        await eventually(lambda: set_aside(outbox, 1))
        assert (await outbox.counts()).delivered == 1


async def test_reading_that_fails_for_a_while_is_delivered(outbox: Outbox, upstream: Upstream) -> None:
    """A single failure does not set a reading aside."""
    slow = a_row()
    outbox.append([a_row() for _ in range(5)] + [slow]).result()
    upstream.fails_on.add(str(slow.message_id))
    async with delivering(upstream, outbox, batch_size=1):
        await eventually(lambda: delivered(outbox, 5))
        upstream.fails_on.clear()
        await eventually(lambda: delivered(outbox, 6))
    assert (await outbox.counts()).rejected == 0


async def test_dead_letter_that_always_gets_500_does_not_stop_the_others(
    outbox: Outbox, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_RETRY_DEAD_LETTERS_S", 0.3)
    letters = [json.dumps({"error_id": f"e{number}", "reason": "not JSON"}) for number in range(8)]
    for number, letter in enumerate(letters):
        outbox.append_dead_letter(UUID(int=number), letter).result()
    upstream.fails_on_letters.add("e3")
    async with delivering(upstream, outbox):
        await eventually(partial(pending_letters, outbox, 1))
        assert len(upstream.errors) == 7
        upstream.fails_on_letters.clear()
        await eventually(lambda: len(upstream.errors) == 8)
