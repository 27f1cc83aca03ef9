"""systemd hears that the gateway is ready, alive and stopping, over its real datagram socket."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from edge_gateway.systemd import Supervisor
from tests.edge_gateway.helpers import eventually


@contextmanager
def listening(address: str) -> Iterator[list[str]]:
    heard: list[str] = []
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.setblocking(False)
        channel.bind(address)
        loop.add_reader(channel, lambda: heard.append(channel.recv(100).decode()))
        yield heard
        loop.remove_reader(channel)


@pytest.mark.parametrize("abstract", [False, True])
async def test_ready_and_stopping_are_told(tmp_path: Path, abstract: bool) -> None:
    name = f"{'@' if abstract else ''}{tmp_path}/notify"
    with listening(f"\0{name[1:]}" if abstract else name) as heard:
        supervisor = Supervisor({"NOTIFY_SOCKET": name})
        supervisor.ready()
        supervisor.stopping()
        await eventually(lambda: heard == ["READY=1", "STOPPING=1"])


async def test_watchdog_is_fed_only_while_all_is_well(tmp_path: Path) -> None:
    name = str(tmp_path / "notify")
    well = True
    with listening(name) as heard:
        watching = asyncio.create_task(
            Supervisor({"NOTIFY_SOCKET": name, "WATCHDOG_USEC": "40000"}).watch(lambda: well)
        )
        await eventually(lambda: len(heard) >= 3)
        well = False
        await asyncio.sleep(0.05)
        so_far = len(heard)
        await asyncio.sleep(0.2)
        watching.cancel()
    assert set(heard) == {"WATCHDOG=1"}
    assert len(heard) == so_far


async def test_without_systemd_nothing_is_told() -> None:
    supervisor = Supervisor({})
    supervisor.ready()
    await asyncio.wait_for(supervisor.watch(lambda: True), 1)


async def test_socket_that_is_gone_is_no_reason_to_stop(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    Supervisor({"NOTIFY_SOCKET": str(tmp_path / "gone")}).ready()
    assert "cannot be told READY=1" in caplog.text
