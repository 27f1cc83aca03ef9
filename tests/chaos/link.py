"""Twenty bracelets with a reading per second, each out of range every 30 s, for five minutes."""

from __future__ import annotations

import asyncio
import random
import tempfile
from pathlib import Path

from tests.link.rig import SEED, LinkOutcome, LinkRig, absence, running

BRACELETS = 20
EVERY_S = 30.0
SHORTEST_S, LONGEST_S = 1.0, 8.0
SECONDS = 300.0


def run() -> dict[str, object]:
    """Run the test.

    Returns:
        The figures: readings measured, stored, lost, duplicated and out of order, and links lost.
    """
    with tempfile.TemporaryDirectory(prefix="kidjamo-chaos-") as scratch:
        outcome, faults = asyncio.run(trouble(Path(scratch), BRACELETS, EVERY_S, SECONDS))
    return {
        "lost": outcome.lost,
        "duplicated": outcome.duplicated,
        "out_of_order": outcome.out_of_order,
        "faults": faults,
        "measured": len(outcome.measured),
        "kept": len(outcome.kept),
    }


async def trouble(directory: Path, bracelets: int, every_s: float, seconds: float) -> tuple[LinkOutcome, int]:
    """Take the bracelets out of range one after the other, repeatedly.

    Returns:
        The readings measured and stored, and the number of links lost.
    """
    rig = LinkRig(directory, bracelets)
    chance = random.Random(SEED)
    faults = 0
    async with running(rig), asyncio.TaskGroup() as absences:
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        while loop.time() < end:
            for peripheral in rig.peripherals:
                absences.create_task(absence(peripheral, chance.uniform(SHORTEST_S, LONGEST_S)))
                faults += 1
                await asyncio.sleep(every_s / bracelets)
    return rig.outcome(), faults
