"""A bounded outbox deletes the least important rows first and reports deleted readings."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from edge_gateway.outbox import retention
from edge_gateway.outbox.outbox import Outbox
from edge_gateway.outbox.reading_queries import NewReading
from edge_gateway.outbox.retention import Gap
from runtime.sqlite_file import used_bytes

START = datetime(2025, 8, 24, tzinfo=UTC)
_FAR_AHEAD = 10**12


class OutboxClock:
    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> float:
        return self.now.timestamp()


@pytest.fixture
def clock() -> OutboxClock:
    return OutboxClock()


@pytest.fixture
def outbox(tmp_path: Path, clock: OutboxClock, monkeypatch: pytest.MonkeyPatch) -> Iterator[Outbox]:
    monkeypatch.setattr(retention, "_CHUNK", 100)
    with Outbox(tmp_path / "outbox.sqlite3", clock) as opened:
        yield opened


def a_row(at: datetime, device_id: str = "b-1", *, critical: bool = False) -> NewReading:
    body = {"timestamp": at.isoformat(), "patient_id": "p", "filler": "x" * 300}
    return NewReading(uuid4(), device_id, json.dumps(body), critical)


def measure(
    outbox: Outbox, clock: OutboxClock, seconds: int, *, critical_every: int = 10**9
) -> list[NewReading]:
    rows = []
    for second in range(seconds):
        for device_id in ("b-1", "b-2"):
            rows.append(a_row(clock.now, device_id, critical=second % critical_every == 0))
        outbox.append(rows[-2:])
        clock.now += timedelta(seconds=1)
    outbox.append([]).result()
    return rows


async def kept(outbox: Outbox) -> list[tuple[UUID, str, datetime]]:
    found = await outbox._ask(
        lambda db: db.execute(
            "SELECT message_id, device_id, json_extract(body, '$.timestamp') FROM readings ORDER BY id"
        ).fetchall()
    )
    return [(UUID(each[0]), each[1], datetime.fromisoformat(each[2])) for each in found]


async def used(outbox: Outbox) -> int:
    return int(await outbox._ask(used_bytes))


async def enforce_bound(outbox: Outbox, bound: int) -> int:
    steps = 0
    while await outbox.enforce_bound(bound):
        steps += 1
    return steps


async def gaps(outbox: Outbox) -> list[Gap]:
    found: list[Gap] = []

    def letter(gap: Gap) -> tuple[UUID, str]:
        found.append(gap)
        return uuid4(), "{}"

    await outbox.report_gaps(letter)
    return found


async def test_nothing_is_deleted_below_the_bound(outbox: Outbox, clock: OutboxClock) -> None:
    measure(outbox, clock, 200)
    assert await enforce_bound(outbox, 2 * await used(outbox)) == 0
    assert len(await kept(outbox)) == 400


async def test_delivered_readings_are_deleted_before_pending_ones(outbox: Outbox, clock: OutboxClock) -> None:
    rows = measure(outbox, clock, 300)
    delivered = [entry.id for entry in await outbox.peek_live(0, 600)][:400]
    await outbox.settle(delivered, [])
    await enforce_bound(outbox, int(await used(outbox) * 0.6))
    assert [each for each, _, _ in await kept(outbox)][-200:] == [row.message_id for row in rows[400:]]
    assert (await outbox.counts()).thinned == 0


async def test_readings_are_thinned_from_the_oldest_on_for_each_bracelet_alike(
    outbox: Outbox, clock: OutboxClock
) -> None:
    measure(outbox, clock, 600)
    clock.now += timedelta(hours=2)
    for _ in range(3):
        assert await outbox.enforce_bound(1) > 0
    left = await kept(outbox)
    assert 100 < (await outbox.counts()).thinned < 200
    for device_id in ("b-1", "b-2"):
        seconds = [(at - START).seconds for _, device, at in left if device == device_id]
        steps = [later - earlier for earlier, later in pairwise(seconds)]
        thinned_up_to = max(index for index, step in enumerate(steps) if step == 2)
        assert set(steps[:thinned_up_to]) <= {1, 2}
        assert steps[:thinned_up_to].count(1) <= 3, "only where one step ended and the next began"
        assert set(steps[thinned_up_to + 1 :]) == {1}


async def test_repeated_thinning_deletes_no_critical_reading(outbox: Outbox, clock: OutboxClock) -> None:
    rows = measure(outbox, clock, 1500, critical_every=50)
    clock.now += timedelta(hours=2)
    bound = await used(outbox) // 5
    await enforce_bound(outbox, bound)
    assert await used(outbox) <= retention.FULL_FROM * bound
    left = {each for each, _, _ in await kept(outbox)}
    assert {row.message_id for row in rows if row.critical} <= left
    counts = await outbox.counts()
    assert (counts.committed, counts.pending, counts.thinned) == (3000, len(left), 3000 - len(left))
    hours = {at.minute // 5 for _, _, at in await kept(outbox)}
    assert hours == {0, 1, 2, 3, 4}, "every part of the time is still there"


async def test_last_hour_stays_complete_while_there_are_older_readings(
    outbox: Outbox, clock: OutboxClock
) -> None:
    measure(outbox, clock, 600)
    clock.now += timedelta(hours=2)
    fresh = measure(outbox, clock, 300)
    await enforce_bound(outbox, int(await used(outbox) * 0.8))
    left = {each for each, _, _ in await kept(outbox)}
    assert {row.message_id for row in fresh} <= left


async def test_oldest_are_deleted_when_nothing_is_left_to_thin(outbox: Outbox, clock: OutboxClock) -> None:
    rows = measure(outbox, clock, 600, critical_every=100)
    bound = int(await used(outbox) * 0.5)
    await enforce_bound(outbox, bound)  # all of it is younger than an hour
    left = {each for each, _, _ in await kept(outbox)}
    assert {row.message_id for row in rows if row.critical} <= left
    assert {row.message_id for row in rows[-200:]} <= left
    assert await used(outbox) <= retention.FULL_FROM * bound


async def test_critical_readings_alone_may_exceed_the_bound(outbox: Outbox, clock: OutboxClock) -> None:
    rows = measure(outbox, clock, 100, critical_every=1)
    assert await enforce_bound(outbox, 50_000) == 0
    assert len(await kept(outbox)) == len(rows)


async def test_deleted_readings_are_reported_once_by_bracelet_and_hour(
    outbox: Outbox, clock: OutboxClock
) -> None:
    clock.now = START + timedelta(minutes=55)
    rows = measure(outbox, clock, 600)
    clock.now += timedelta(hours=2)
    await enforce_bound(outbox, int(await used(outbox) * 0.6))
    reported = await gaps(outbox)
    assert (
        sum(gap.lost for gap in reported)
        == (await outbox.counts()).thinned
        == len(rows) - len(await kept(outbox))
    )
    assert sorted({(gap.device_id, gap.first[:13]) for gap in reported}) == [
        ("b-1", "2025-08-24T00"),
        ("b-1", "2025-08-24T01"),
        ("b-2", "2025-08-24T00"),
        ("b-2", "2025-08-24T01"),
    ]
    assert all(gap.first <= gap.last for gap in reported)
    assert await gaps(outbox) == []
    assert (await outbox.counts()).dead_letters == 4


async def test_many_dead_letters_displace_no_reading(outbox: Outbox, clock: OutboxClock) -> None:
    rows = measure(outbox, clock, 200)
    for number in range(300):
        outbox.append_dead_letter(uuid4(), json.dumps({"number": number, "original": "x" * 5000}))
    bound = await used(outbox)
    clock.now += timedelta(hours=2)
    await enforce_bound(outbox, bound)
    counts = await outbox.counts()
    assert (counts.pending, counts.thinned) == (len(rows), 0)
    assert counts.dead_letters == 300
    assert counts.dead_letters_dropped in (100, 200)
    newest = json.loads((await outbox.peek_dead_letters(300))[-1].body)
    assert newest["number"] == 299


async def test_backlog_starts_with_critical_readings_then_the_oldest(
    outbox: Outbox, clock: OutboxClock
) -> None:
    rows = measure(outbox, clock, 5, critical_every=3)
    order: list[Any] = []
    while batch := await outbox.peek_backlog(_FAR_AHEAD, 4):
        order += [UUID(entry.identity) for entry in batch]
        await outbox.settle([entry.id for entry in batch], [])
    criticals = [row.message_id for row in rows if row.critical]
    assert order == criticals + [row.message_id for row in rows if not row.critical]


async def test_rejected_critical_reading_is_never_deleted_for_space(
    outbox: Outbox, clock: OutboxClock
) -> None:
    rows = measure(outbox, clock, 2, critical_every=2)
    entries = await outbox.peek_live(0, 10)
    await outbox.settle([], [(entry.id, "not accepted") for entry in entries])
    while await outbox.enforce_bound(1):
        pass
    assert [each for each, _, _ in await kept(outbox)] == [row.message_id for row in rows if row.critical]


async def test_reading_rejected_with_a_dead_letter_is_rejected_and_reported_once(
    outbox: Outbox, clock: OutboxClock
) -> None:
    measure(outbox, clock, 1)
    first, _ = await outbox.peek_live(0, 10)
    error_id = uuid4()
    for _ in range(2):
        await outbox.reject_with_dead_letter(first.id, "not accepted", error_id, "{}")
    counts = await outbox.counts()
    assert (counts.pending, counts.rejected, counts.dead_letters) == (1, 1, 1)
    await outbox.reject_with_dead_letter(first.id + 99, "no such row", uuid4(), "{}")
    assert (await outbox.counts()).dead_letters == 1
