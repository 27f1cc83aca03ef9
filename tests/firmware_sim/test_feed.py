"""The simple simulator sending to a target: what it sends, and when."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

from firmware_sim.errors import TargetUnavailable
from firmware_sim.feed import LARGEST_BATCH, ReadingFeed, readings
from firmware_sim.sent_readings import SentReadingsLog
from firmware_sim.targets import CombinedTarget, RetryingTarget
from firmware_sim.timeline import Timeline, milliseconds
from vitals.reading import Reading

NOON = 1_756_036_800_000


class RecordingTarget:
    """A target that records what it is sent; unavailable for the first calls."""

    def __init__(self, failures: int = 0) -> None:
        self.batches: list[list[Reading]] = []
        self.failures, self.closed = failures, False

    async def send(self, readings: Sequence[Reading]) -> None:
        if self.failures:
            self.failures -= 1
            raise TargetUnavailable("not yet")
        self.batches.append(list(readings))

    async def close(self) -> None:
        self.closed = True


def test_readings_are_ordered_by_time_then_child() -> None:
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
    target = RecordingTarget()
    timeline = Timeline.begin(1, None)
    source = islice(readings(3, 7, 0, NOON, 1.0), LARGEST_BATCH + 10)
    with SentReadingsLog(tmp_path / "ledger.jsonl") as ledger:
        feed = ReadingFeed(source, target, timeline, ledger)
        await feed.run(asyncio.Event())
    assert [len(batch) for batch in target.batches] == [LARGEST_BATCH, 10]
    lines = [json.loads(line) for line in (tmp_path / "ledger.jsonl").read_text().splitlines()]
    assert [line["message_id"] for line in lines] == [str(r.message_id) for b in target.batches for r in b]
    assert lines[0].keys() == {
        "message_id",
        "device_id",
        "patient_id",
        "timestamp",
        "measurements",
        "noted_at",
    }


async def test_feed_live_sends_readings_when_they_are_due() -> None:
    target = RecordingTarget()
    timeline = Timeline.begin(1, None)
    source = islice(readings(3, 7, 0, timeline.start_ms, 0.1), 9)
    with SentReadingsLog(None) as ledger:
        await ReadingFeed(source, target, timeline, ledger).run(asyncio.Event())
    assert [len(batch) for batch in target.batches] == [3, 3, 3]
    assert timeline.now_ms() - timeline.start_ms >= 200


async def test_feed_stopped_delivers_what_it_measured() -> None:
    target, stop = RecordingTarget(), asyncio.Event()
    timeline = Timeline.begin(1, None)
    with SentReadingsLog(None) as ledger:
        feed = ReadingFeed(readings(3, 7, 0, timeline.start_ms, 10.0), target, timeline, ledger)
        asyncio.get_running_loop().call_later(0.1, stop.set)
        await asyncio.wait_for(feed.run(stop), 1)
        assert feed.sent == ledger.count == 3


async def test_combined_target_delivers_to_all_though_one_was_unavailable() -> None:
    available, unavailable = RecordingTarget(), RecordingTarget(failures=1)
    combined = CombinedTarget([RetryingTarget(available), RetryingTarget(unavailable)])
    sent = list(islice(readings(1, 7, 0, NOON, 1.0), 5))
    await combined.send(sent)
    await combined.close()
    assert available.batches == unavailable.batches == [sent]
    assert available.closed
    assert unavailable.closed
