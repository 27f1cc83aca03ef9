"""The gateway, killed with SIGKILL 200 times while ten BLE and ten MQTT bracelets measure every second.

No reading acknowledged to a bracelet may be missing upstream, and none may arrive under two identities.
"""

from __future__ import annotations

import asyncio
import random
import tempfile
from dataclasses import dataclass
from pathlib import Path

from deploy.local.mqtt import MqttBroker
from firmware_sim.plan import Address
from tests.link.rig import SEED, LinkRig, running
from tests.link.upstream import Upstream, an_upstream

BRACELETS = 20
KILLS = 200
SHORTEST_S, LONGEST_S = 0.2, 4.0
_PATIENCE_S = 120.0


@dataclass(frozen=True, slots=True)
class KilledGatewayResult:
    """Result of the run.

    Attributes:
        measured: readings measured.
        lost: readings that did not arrive upstream.
        duplicated: readings that arrived under more than one identity.
        kills: how often the gateway was killed.
    """

    measured: int
    lost: int
    duplicated: int
    kills: int


def run() -> dict[str, object]:
    """Run the test; the contract defines the names of the figures."""
    with tempfile.TemporaryDirectory(prefix="kidjamo-chaos-") as scratch:
        result = asyncio.run(killed_again_and_again(Path(scratch), BRACELETS, KILLS))
    return {
        "lost": result.lost,
        "duplicated": result.duplicated,
        "faults": result.kills,
        "measured": result.measured,
    }


async def killed_again_and_again(directory: Path, bracelets: int, kills: int) -> KilledGatewayResult:
    """Kill the gateway at random times: while it starts, connects, fetches, commits or delivers."""
    chance = random.Random(SEED)
    (directory / "broker").mkdir()
    broker = MqttBroker(directory / "broker")
    await asyncio.to_thread(broker.start)
    try:
        async with an_upstream() as upstream:
            rig = LinkRig(
                directory,
                bracelets // 2,
                mqtt=bracelets - bracelets // 2,
                broker=Address(broker.host, broker.port),
                api=upstream.url,
            )
            async with running(rig):
                for _ in range(kills):
                    await asyncio.sleep(chance.uniform(SHORTEST_S, LONGEST_S))
                    await asyncio.to_thread(rig.gateway.kill)
                    await asyncio.to_thread(rig.gateway.start)
                await rig.all_connected()
            # readings released by the bracelets are in the outbox and are delivered after the next start
            await asyncio.to_thread(rig.gateway.start)
            missing = await _missing_upstream(rig, upstream)
            await asyncio.to_thread(rig.gateway.stop)
            return KilledGatewayResult(len(rig.measured), len(missing), upstream.duplicated, kills)
    finally:
        await asyncio.to_thread(broker.stop)


async def _missing_upstream(rig: LinkRig, upstream: Upstream) -> set[str]:
    """Wait until all readings have arrived upstream; return the missing ones."""
    measured = {each.message_id for each in rig.measured}
    for _ in range(int(_PATIENCE_S / 0.5)):
        if measured <= upstream.accepted.keys():
            break
        await asyncio.sleep(0.5)
    return measured - upstream.accepted.keys()
