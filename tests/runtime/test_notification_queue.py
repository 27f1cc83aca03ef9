"""A recipient that fails, hangs or is flooded does not block others, and is retried."""

from __future__ import annotations

import asyncio

import pytest

from edge_gateway.state import Counters
from runtime import notification_queue as module
from runtime.notification_queue import RETRY_FOR_S, NotificationQueue
from tests.waiting import eventually
from vitals.errors import NotNotified


class FailingRecipient:
    """Raises the given errors, one a delivery, then accepts everything."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.received: list[int] = []

    async def deliver(self, item: int) -> None:
        if self.errors:
            raise self.errors.pop(0)
        self.received.append(item)


async def hang(_item: int) -> None:
    await asyncio.Event().wait()


@pytest.mark.parametrize("error", [NotNotified("unreachable"), ValueError("a bug")])
async def test_failing_recipient_is_counted_and_retried_in_order(error: Exception) -> None:
    recipient, counters = FailingRecipient(error), Counters()
    queue = NotificationQueue("test", recipient.deliver, counters)
    task = asyncio.create_task(queue.run())
    queue.add(1)
    await eventually(lambda: queue.failing)
    assert str(error) in queue.failing
    queue.add(2)
    await eventually(lambda: recipient.received == [1, 2])
    task.cancel()
    assert (counters.notifier_failures, counters.notified, queue.failing) == (1, 2, "")


async def test_failing_time_counts_from_the_first_failure_until_a_success() -> None:
    now, recipient = 100.0, FailingRecipient(NotNotified("unreachable"), NotNotified("unreachable"))
    queue = NotificationQueue("test", recipient.deliver, Counters(), lambda: now)
    task = asyncio.create_task(queue.run())
    assert queue.failing_s == 0
    queue.add(1)
    await eventually(lambda: queue.failing)
    now = 160.0
    assert queue.failing_s == 60
    await eventually(lambda: recipient.received)
    assert queue.failing_s == 0
    task.cancel()


async def test_hanging_recipient_times_out_and_counts_as_failing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "_DELIVERY_TIMEOUT_S", 0.05)
    queue = NotificationQueue("test", hang, Counters())
    task = asyncio.create_task(queue.run())
    queue.add(1)
    await eventually(lambda: queue.failing == "no answer within 0.05 s")
    task.cancel()


async def test_items_nobody_takes_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MAX_WAITING", 10)
    counters = Counters()
    queue = NotificationQueue("test", hang, counters)
    for number in range(25):
        queue.add(number)
    assert counters.alerts_not_notified == 15


async def test_item_that_nobody_could_be_told_for_15_minutes_is_given_up() -> None:
    now, recipient, counters = 0.0, FailingRecipient(NotNotified("unreachable")), Counters()
    queue = NotificationQueue("test", recipient.deliver, counters, lambda: now)
    task = asyncio.create_task(queue.run())
    queue.add(1)
    await eventually(lambda: queue.failing)
    now = RETRY_FOR_S + 1
    queue.add(2)
    await eventually(lambda: recipient.received == [2])
    task.cancel()
    assert counters.alerts_not_notified == 1


async def test_only_so_many_items_are_on_their_way_at_once() -> None:
    started: list[int] = []

    async def slow(item: int) -> None:
        started.append(item)
        await asyncio.Event().wait()

    queue = NotificationQueue("test", slow, Counters(), max_concurrency=2)
    task = asyncio.create_task(queue.run())
    for number in range(5):
        queue.add(number)
    await eventually(lambda: started == [0, 1])
    await asyncio.sleep(0.05)
    assert started == [0, 1]
    task.cancel()
