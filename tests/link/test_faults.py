"""Every fault of the simulator that loses no reading by itself, against a gateway process."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path

from firmware_sim.faults.scenario_file import EventKind, FaultEvent, FaultScenario
from tests.link.rig import LinkRig, running

SECONDS = 16.0
SCENARIO = FaultScenario(
    event=(
        FaultEvent(kind=EventKind.LINK_LOSS, at_s=2, every_s=7, stagger_s=0.4),
        FaultEvent(kind=EventKind.SILENT_DEATH, at_s=3, for_s=8, bracelets=("ble-001",)),
        FaultEvent(kind=EventKind.SLOW_CONNECT, at_s=1, for_s=15, value=0.5, bracelets=("ble-002",)),
        FaultEvent(kind=EventKind.REFUSE_CONNECT, at_s=4, for_s=4, bracelets=("ble-003",)),
        FaultEvent(kind=EventKind.SLOTS_TAKEN, at_s=9, for_s=4, value=3),
        FaultEvent(kind=EventKind.REBOOT, at_s=6, bracelets=("ble-004",)),
        FaultEvent(kind=EventKind.GARBAGE, at_s=3, every_s=5, value=4),
        FaultEvent(kind=EventKind.DUPLICATE, every_s=3, value=2),
        FaultEvent(kind=EventKind.REORDER, at_s=1, every_s=4, value=2),
        FaultEvent(kind=EventKind.CLONE, at_s=5, for_s=10, bracelets=("ble-005",)),
        FaultEvent(kind=EventKind.TAKEN_OFF, at_s=4, for_s=5, bracelets=("ble-005",)),
        FaultEvent(kind=EventKind.CLOCK_WRONG, at_s=5, value=-31_536_000, bracelets=("ble-006",)),
        FaultEvent(kind=EventKind.BATTERY, at_s=10, value=9, bracelets=("ble-002",)),
    )
)


async def test_faults_of_all_kinds_lose_and_duplicate_nothing(tmp_path: Path) -> None:
    rig = LinkRig(tmp_path, 6, scenario=SCENARIO)
    async with running(rig):
        await asyncio.sleep(SECONDS)
        links = await asyncio.to_thread(_links, rig.config)
        assert rig.gateway.running
    assert rig.fleet.faults.keys() == {event.kind.value for event in SCENARIO.event}
    outcome = rig.outcome()
    assert len(outcome.measured) > 100
    assert (outcome.lost, outcome.duplicated) == (0, 0)
    assert links["ble-002"]["battery_pct"] == 9
    assert "uses its name: refused" in rig.gateway.log.read_text()


def _links(config: Path) -> dict[str, dict[str, object]]:
    command = [sys.executable, "-m", "edge_gateway.cli", "links", "--json", "--config", str(config)]
    printed = subprocess.run(command, capture_output=True, check=True, text=True).stdout
    links: dict[str, dict[str, object]] = json.loads(printed)["links"]
    return links
