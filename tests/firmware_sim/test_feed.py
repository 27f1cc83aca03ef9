"""The simple simulator feeding a target: what it sends, and when."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

from firmware_sim.errors import TargetAway
from firmware_sim.feed import LARGEST_BATCH, Feed, readings
from firmware_sim.ledger import Ledger
from firmware_sim.targets import CombinedTarget, RetryingTarget
from firmware_sim.timeline import Timeline, milliseconds
from vitals.reading import Reading

NOON = 1_756_036_800_000


class Shelf:
    """A target that keeps what it is sent, away for the first calls."""

    def __init__(self, away: int = 0) -> None:
        self.batches: list[list[Reading]] = []
        self.away, self.closed = away, False

    async def send(self, readings: Sequence[Reading]) -> None:
        if self.away:
            self.away -= 1
            raise TargetAway("not yet")
        self.batches.append(list(readings))

    async def close(self) -> None:
        self.closed = True


def test_readings_follow_time_and_children() -> None:
    first = list(islice(readings(3, 7, 9, NOON, 1.0), 7))
    assert [(r.device_id, r.patient_id, r.seq, milliseconds(r.timestamp) - NOON) for r in first] == [
        ("sim-001", "patient-001-ss", 0, 0),
        ("sim-002", "patient-002-as", 0, 0),
        ("sim-003", "patient-003-sc", 0, 0),
        ("sim-001", "patient-001-ss", 1, 1000),
        ("sim-002", "patient-002-as", 1, 1000),
        ("sim-003", "patient-003-sc", 1, 1000),
        ("sim-001", "patient-001-ss", 2, 2000),
    ]
    assert len({r.message_id for r in first}) == 7
    assert first == list(islice(readings(3, 7, 9, NOON, 1.0), 7))


async def test_feed_in_the_past_sends_large_batches(tmp_path: Path) -> None:
    shelf = Shelf()
    timeline = Timeline.begin(1, None)
    source = islice(readings(3, 7, 0, NOON, 1.0), LARGEST_BATCH + 10)
    with Ledger(tmp_path / "ledger.jsonl") as ledger:
        feed = Feed(source, shelf, timeline, ledger)
        await feed.run(asyncio.Event())
    assert [len(batch) for batch in shelf.batches] == [LARGEST_BATCH, 10]
    lines = [json.loads(line) for line in (tmp_path / "ledger.jsonl").read_text().splitlines()]
    assert [line["message_id"] for line in lines] == [str(r.message_id) for b in shelf.batches for r in b]
    assert lines[0].keys() == {
        "message_id",
        "device_id",
        "patient_id",
        "timestamp",
        "measurements",
        "noted_at",
    }


async def test_feed_live_sends_each_moment_when_it_is_due() -> None:
    shelf = Shelf()
    timeline = Timeline.begin(1, None)
    source = islice(readings(3, 7, 0, timeline.start_ms, 0.1), 9)
    with Ledger(None) as ledger:
        await Feed(source, shelf, timeline, ledger).run(asyncio.Event())
    assert [len(batch) for batch in shelf.batches] == [3, 3, 3]
    assert timeline.now_ms() - timeline.start_ms >= 200


async def test_feed_stops_and_delivers_what_it_measured() -> None:
    shelf, stop = Shelf(), asyncio.Event()
    timeline = Timeline.begin(1, None)
    with Ledger(None) as ledger:
        feed = Feed(readings(3, 7, 0, timeline.start_ms, 10.0), shelf, timeline, ledger)
        asyncio.get_running_loop().call_later(0.1, stop.set)
        await asyncio.wait_for(feed.run(stop), 1)
        assert feed.sent == ledger.count == 3


async def test_several_targets_get_the_same_though_one_was_away() -> None:
    there, late = Shelf(), Shelf(away=1)
    several = CombinedTarget([RetryingTarget(there), RetryingTarget(late)])
    sent = list(islice(readings(1, 7, 0, NOON, 1.0), 5))
    await several.send(sent)
    await several.close()
    assert there.batches == late.batches == [sent]
    assert there.closed
    assert late.closed
