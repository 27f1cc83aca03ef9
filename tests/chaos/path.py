"""The whole path with its API killed (SIGKILL) for 20 seconds, three times over: nothing may be lost."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from deploy.local.stack import Stack

KILLS = 3
AWAY_S = 20
DRAIN_S = 180


def run() -> dict[str, object]:
    """Run it.

    Returns:
        The figures: what each stage holds, what is lost, what is duplicated, how many faults were injected.
    """
    with tempfile.TemporaryDirectory(prefix="kidjamo-chaos-") as scratch:
        stack = Stack(Path(scratch) / "data", Path(scratch) / "data_lake")
        try:
            stack.start(print)
            api = stack.services["api"]
            for kill in range(1, KILLS + 1):
                time.sleep(15)
                print(f"kill {kill} of {KILLS}: the API is gone for {AWAY_S} s")
                api.kill()
                time.sleep(AWAY_S)
                api.start()
                api.wait_until(lambda: stack.serves(stack.api_url), 30)
            stack.stop_measuring()
            deadline = time.monotonic() + DRAIN_S
            while (census := stack.stage_sources().count()).lost() and time.monotonic() < deadline:
                time.sleep(2)
        finally:
            stack.stop()
    lost = census.lost()
    return {
        "lost": sum(lost.values()),
        "duplicated": census.duplicated(),
        "faults": KILLS,
        "stages": census.stages(),
        "lost_by_stage": lost,
    }
