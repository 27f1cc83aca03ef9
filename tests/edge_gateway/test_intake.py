"""The intake evaluates readings without waiting for the disk and confirms only what is durable."""

from __future__ import annotations

from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from edge_gateway.alarms.evaluator import AlarmEvaluator
from edge_gateway.config import ApiConfig
from edge_gateway.inbox import DeadLetter, InboxItem
from edge_gateway.intake import Intake
from edge_gateway.outbox.outbox import Outbox
from edge_gateway.state import GatewayState
from edge_gateway.uplink.client import ApiClient
from edge_gateway.uplink.uplink import Uplink
from tests.edge_gateway.helpers import a_reading
from tests.waiting import eventually
from vitals.reading import Reading


class IntakeBench:
    """An intake on a real outbox; records what was evaluated and confirmed."""

    def __init__(self, outbox: Outbox) -> None:
        self.evaluated: list[Reading] = []
        self.confirmed: list[str] = []
        self.state = GatewayState("gw-1")
        evaluator = AlarmEvaluator([], self.state.counters, lambda reading, _: self.evaluated.append(reading))
        uplink = Uplink(ApiClient(ApiConfig(url="http://127.0.0.1:1")), outbox, self.state, 100)
        self.intake = Intake("gw-1", evaluator, outbox, uplink, self.state)

    def take(self, *contents: Reading | DeadLetter, duplicate: bool = False) -> None:
        self.intake.take(
            [InboxItem(each, lambda each=each: self._confirm(each), duplicate) for each in contents]  # type: ignore[misc]
        )

    def _confirm(self, content: Reading | DeadLetter) -> None:
        self.confirmed.append(str(content.message_id if isinstance(content, Reading) else content.error_id))


async def test_readings_are_evaluated_while_nothing_becomes_durable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Outbox(tmp_path / "outbox.sqlite3") as outbox:
        bench, stuck = IntakeBench(outbox), Future[None]()
        monkeypatch.setattr(outbox, "append", lambda _: stuck)
        readings = [a_reading() for _ in range(20_000)]
        for reading in readings:
            bench.take(reading)
        assert len(bench.evaluated) == 20_000
        assert bench.confirmed == []
        stuck.set_result(None)
        await eventually(lambda: len(bench.confirmed) == 20_000)


async def test_every_item_of_a_batch_is_confirmed_once_durable(tmp_path: Path) -> None:
    with Outbox(tmp_path / "outbox.sqlite3") as outbox:
        bench = IntakeBench(outbox)
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


async def test_duplicate_is_confirmed_but_not_evaluated_again(tmp_path: Path) -> None:
    with Outbox(tmp_path / "outbox.sqlite3") as outbox:
        bench, reading = IntakeBench(outbox), a_reading()
        bench.take(reading)
        bench.take(reading, duplicate=True)
        await bench.intake.drained()
        assert len(bench.evaluated) == 1
        assert bench.confirmed == 2 * [str(reading.message_id)]
        assert (await outbox.counts()).committed == 1


async def test_failed_evaluation_loses_no_reading(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with Outbox(tmp_path / "outbox.sqlite3") as outbox:
        bench, readings = IntakeBench(outbox), [a_reading() for _ in range(3)]

        def evaluate(reading: Reading) -> Any:
            if reading.message_id == readings[0].message_id:
                raise ZeroDivisionError
            bench.evaluated.append(reading)

        monkeypatch.setattr(bench.intake._evaluator, "evaluate", evaluate)
        bench.take(*readings)
        await bench.intake.drained()
        assert len(bench.evaluated) == 2
        assert len(bench.confirmed) == 3
    assert "could not be evaluated" in caplog.text
