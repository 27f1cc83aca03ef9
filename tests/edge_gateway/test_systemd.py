"""Notifications to systemd over a real datagram socket."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from edge_gateway.systemd import SystemdNotifier
from tests.waiting import eventually


@contextmanager
def listening(address: str) -> Iterator[list[str]]:
    received: list[str] = []
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.setblocking(False)
        channel.bind(address)
        loop.add_reader(channel, lambda: received.append(channel.recv(100).decode()))
        yield received
        loop.remove_reader(channel)


@pytest.mark.parametrize("abstract", [False, True])
async def test_ready_and_stopping_are_sent(tmp_path: Path, abstract: bool) -> None:
    name = f"{'@' if abstract else ''}{tmp_path}/notify"
    with listening(f"\0{name[1:]}" if abstract else name) as received:
        notifier = SystemdNotifier({"NOTIFY_SOCKET": name})
        notifier.ready()
        notifier.stopping()
        await eventually(lambda: received == ["READY=1", "STOPPING=1"])


async def test_keep_alives_are_sent_only_while_healthy(tmp_path: Path) -> None:
    name = str(tmp_path / "notify")
    healthy = True
    with listening(name) as received:
        watching = asyncio.create_task(
            SystemdNotifier({"NOTIFY_SOCKET": name, "WATCHDOG_USEC": "40000"}).watch(lambda: healthy)
        )
        await eventually(lambda: len(received) >= 3)
        healthy = False
        await asyncio.sleep(0.05)
        count = len(received)
        await asyncio.sleep(0.2)
        watching.cancel()
    assert set(received) == {"WATCHDOG=1"}
    assert len(received) == count


async def test_without_systemd_nothing_is_sent() -> None:
    notifier = SystemdNotifier({})
    notifier.ready()
    await asyncio.wait_for(notifier.watch(lambda: True), 1)


async def test_missing_socket_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    SystemdNotifier({"NOTIFY_SOCKET": str(tmp_path / "gone")}).ready()
    assert "cannot send READY=1" in caplog.text
