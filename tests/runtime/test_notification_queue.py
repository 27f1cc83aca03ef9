"""A recipient that fails, hangs or is flooded holds nobody up, and is not forgotten."""

from __future__ import annotations

import asyncio

import pytest

from edge_gateway.state import Counters
from runtime import notification_queue as module
from runtime.notification_queue import TRIED_FOR_S, Desk
from tests.edge_gateway.helpers import eventually
from vitals.errors import NotNotified


class Scripted:
    """A recipient that does what its script says, then works."""

    def __init__(self, *script: Exception) -> None:
        self.script = list(script)
        self.told: list[int] = []

    async def deliver(self, thing: int) -> None:
        if self.script:
            raise self.script.pop(0)
        self.told.append(thing)


async def hang(_thing: int) -> None:
    await asyncio.Event().wait()


@pytest.mark.parametrize("error", [NotNotified("away"), ValueError("a bug")])
async def test_failing_recipient_is_counted_and_tried_again_in_order(error: Exception) -> None:
    scripted, counters = Scripted(error), Counters()
    desk = Desk("test", scripted.deliver, counters)
    task = asyncio.create_task(desk.run())
    desk.add(1)
    await eventually(lambda: desk.failing)
    assert str(error) in desk.failing
    desk.add(2)
    await eventually(lambda: scripted.told == [1, 2])
    task.cancel()
    assert (counters.notifier_failures, counters.notified, desk.failing) == (1, 2, "")


async def test_time_of_failing_counts_from_the_first_failure_and_ends_with_a_success() -> None:
    now, scripted = 100.0, Scripted(NotNotified("away"), NotNotified("away"))
    desk = Desk("test", scripted.deliver, Counters(), lambda: now)
    task = asyncio.create_task(desk.run())
    assert desk.failing_s == 0
    desk.add(1)
    await eventually(lambda: desk.failing)
    now = 160.0
    assert desk.failing_s == 60
    await eventually(lambda: scripted.told)
    assert desk.failing_s == 0
    task.cancel()


async def test_hanging_recipient_holds_nobody_up_and_counts_as_failing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "_DELIVERED_WITHIN_S", 0.05)
    desk = Desk("test", hang, Counters())
    task = asyncio.create_task(desk.run())
    desk.add(1)
    await eventually(lambda: desk.failing == "no answer within 0.05 s")
    task.cancel()


async def test_things_nobody_takes_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST_WAITING", 10)
    counters = Counters()
    desk = Desk("test", hang, counters)
    for number in range(25):
        desk.add(number)
    assert counters.alerts_not_notified == 15


async def test_thing_that_nobody_could_be_told_for_15_minutes_is_given_up() -> None:
    now, scripted, counters = 0.0, Scripted(NotNotified("away")), Counters()
    desk = Desk("test", scripted.deliver, counters, lambda: now)
    task = asyncio.create_task(desk.run())
    desk.add(1)
    await eventually(lambda: desk.failing)
    now = TRIED_FOR_S + 1
    desk.add(2)
    await eventually(lambda: scripted.told == [2])
    task.cancel()
    assert counters.alerts_not_notified == 1


async def test_only_so_many_things_are_on_their_way_at_once() -> None:
    begun: list[int] = []

    async def slow(thing: int) -> None:
        begun.append(thing)
        await asyncio.Event().wait()

    desk = Desk("test", slow, Counters(), at_once=2)
    task = asyncio.create_task(desk.run())
    for number in range(5):
        desk.add(number)
    await eventually(lambda: begun == [0, 1])
    await asyncio.sleep(0.05)
    assert begun == [0, 1]
    task.cancel()
