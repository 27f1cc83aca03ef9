"""The intake: judged at once whatever the disk does, confirmed only when durable."""

from __future__ import annotations

from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from edge_gateway.alarms.evaluator import Alarms
from edge_gateway.config import ApiConfig
from edge_gateway.inbox import Arrival, DeadLetter
from edge_gateway.intake import Intake
from edge_gateway.outbox.outbox import Outbox
from edge_gateway.state import GatewayState
from edge_gateway.uplink.client import ApiClient
from edge_gateway.uplink.uplink import Uplink
from tests.edge_gateway.helpers import a_reading, eventually
from vitals.reading import Reading


class Bench:
    """An intake on a real outbox, and what was judged and confirmed."""

    def __init__(self, outbox: Outbox) -> None:
        self.judged: list[Reading] = []
        self.confirmed: list[str] = []
        self.state = GatewayState("gw-1")
        alarms = Alarms([], self.state.counters, lambda reading, _: self.judged.append(reading))
        uplink = Uplink(ApiClient(ApiConfig(url="http://127.0.0.1:1")), outbox, self.state, 100)
        self.intake = Intake("gw-1", alarms, outbox, uplink, self.state)

    def take(self, *contents: Reading | DeadLetter, again: bool = False) -> None:
        self.intake.take(
            [Arrival(each, lambda each=each: self._confirm(each), again) for each in contents]  # type: ignore[misc]
        )

    def _confirm(self, content: Reading | DeadLetter) -> None:
        self.confirmed.append(str(content.message_id if isinstance(content, Reading) else content.error_id))


async def test_readings_are_judged_while_nothing_becomes_durable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Outbox(tmp_path / "outbox.sqlite3") as outbox:
        bench, stuck = Bench(outbox), Future[None]()
        monkeypatch.setattr(outbox, "append", lambda _: stuck)
        readings = [a_reading() for _ in range(20_000)]
        for reading in readings:
            bench.take(reading)
        assert len(bench.judged) == 20_000
        assert bench.confirmed == []
        stuck.set_result(None)
        await eventually(lambda: len(bench.confirmed) == 20_000)


async def test_each_of_a_batch_is_confirmed_once_it_is_durable(tmp_path: Path) -> None:
    with Outbox(tmp_path / "outbox.sqlite3") as outbox:
        bench = Bench(outbox)
        readings, letter = [a_reading() for _ in range(3)], DeadLetter.of(b"?", "not JSON")
        bench.take(readings[0], letter, *readings[1:])
        assert bench.confirmed == []
        await bench.intake.drained()
        assert sorted(bench.confirmed) == sorted(
            [*(str(each.message_id) for each in readings), str(letter.error_id)]
        )
        kept = await outbox.peek_live(0, 10)
        assert [entry.identity for entry in kept] == [str(each.message_id) for each in readings]
        assert [entry.identity for entry in await outbox.peek_dead_letters(10)] == [str(letter.error_id)]


async def test_reading_handed_over_again_is_kept_and_not_judged_again(tmp_path: Path) -> None:
    with Outbox(tmp_path / "outbox.sqlite3") as outbox:
        bench, reading = Bench(outbox), a_reading()
        bench.take(reading)
        bench.take(reading, again=True)
        await bench.intake.drained()
        assert len(bench.judged) == 1
        assert bench.confirmed == 2 * [str(reading.message_id)]
        assert (await outbox.counts()).committed == 1


async def test_reading_that_cannot_be_judged_is_kept_and_so_are_those_behind_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with Outbox(tmp_path / "outbox.sqlite3") as outbox:
        bench, readings = Bench(outbox), [a_reading() for _ in range(3)]

        def judge(reading: Reading) -> Any:
            if reading.message_id == readings[0].message_id:
                raise ZeroDivisionError
            bench.judged.append(reading)

        monkeypatch.setattr(bench.intake._alarms, "judge", judge)
        bench.take(*readings)
        await bench.intake.drained()
        assert len(bench.judged) == 2
        assert len(bench.confirmed) == 3
    assert "could not be judged" in caplog.text
