"""The installed gateway on BlueZ: scan, connect, notify, lose links, reconnect; kill and restart."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from firmware_sim.faults.scenario_file import EventKind, FaultEvent, FaultScenario
from tests.bluez.guest import guest, kernel_package
from tests.link.rig import LinkRig, running
from tests.waiting import eventually

pytestmark = [
    pytest.mark.bluez,
    pytest.mark.timeout(300),
    pytest.mark.skipif(
        kernel_package() is None, reason="the guest boots a Debian x86-64 kernel, apt has none"
    ),
]

BRACELETS = 3
SCENARIO = FaultScenario(
    event=(
        FaultEvent(kind=EventKind.LINK_LOSS, at_s=32, every_s=10, stagger_s=1),
        FaultEvent(kind=EventKind.OUT_OF_RANGE, at_s=40, for_s=6, bracelets=("ble-001",)),
        FaultEvent(kind=EventKind.CLOCK_WRONG, at_s=1, value=-31_536_000, bracelets=("ble-002",)),
    )
)


@asynccontextmanager
async def bluez(rig: LinkRig, log: Path) -> AsyncIterator[None]:
    """Run the guest and give the gateway the address of its D-Bus."""
    async with guest(rig.hci_socket, log) as address:
        rig.gateway.environment["DBUS_SYSTEM_BUS_ADDRESS"] = address
        yield


async def states(rig: LinkRig) -> list[str]:
    """Return the state of each link of the running gateway; none if it does not answer."""
    words = [sys.executable, "-m", "edge_gateway.cli", "links", "--json", "--config", str(rig.config)]
    done = await asyncio.to_thread(subprocess.run, words, capture_output=True, text=True)
    known = json.loads(done.stdout)["links"] if done.stdout else {}
    return [link["state"] if link else "never heard" for link in known.values()]


async def test_gateway_on_bluez_loses_nothing(tmp_path: Path) -> None:
    rig = LinkRig(tmp_path, BRACELETS, scenario=SCENARIO, radio="system")
    async with running(rig, stored=20, plug=bluez(rig, tmp_path / "guest.log")):

        async def all_live() -> bool:
            return await states(rig) == BRACELETS * ["live"]

        await eventually(all_live)
        await eventually(lambda: rig.fleet.faults["out_of_range"] == 1)
        await asyncio.sleep(8)
        await eventually(all_live)
        rig.gateway.kill()  # BlueZ keeps its links, and a connected bracelet does not advertise
        await asyncio.sleep(1)
        await asyncio.to_thread(rig.gateway.start)
        await eventually(lambda: rig.gateway.running and (rig.config.parent / "data/gateway.sock").exists())
        await eventually(all_live)
    outcome = rig.outcome()
    assert len(outcome.measured) > 20 * BRACELETS
    assert (outcome.lost, outcome.duplicated, outcome.out_of_order) == (0, 0, 0)
    assert rig.fleet.faults["link_loss"] >= BRACELETS
