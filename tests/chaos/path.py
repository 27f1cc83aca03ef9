"""The whole path while the API is killed for 20 seconds, three times: no reading may be lost."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from deploy.local.stack import Stack

KILLS = 3
DOWN_S = 20
DRAIN_S = 180


def run() -> dict[str, object]:
    """Run the test.

    Returns:
        The figures: readings of each stage, lost and duplicated readings, and injected faults.
    """
    with tempfile.TemporaryDirectory(prefix="kidjamo-chaos-") as scratch:
        stack = Stack(Path(scratch) / "data", Path(scratch) / "data_lake")
        try:
            stack.start(print)
            api = stack.services["api"]
            for kill in range(1, KILLS + 1):
                time.sleep(15)
                print(f"kill {kill} of {KILLS}: the API is down for {DOWN_S} s")
                api.kill()
                time.sleep(DOWN_S)
                api.start()
                api.wait_until(lambda: stack.serves(stack.api_url), 30)
            stack.stop_measuring()
            deadline = time.monotonic() + DRAIN_S
            while (counts := stack.stage_sources().count()).lost() and time.monotonic() < deadline:
                time.sleep(2)
        finally:
            stack.stop()
    lost = counts.lost()
    return {
        "lost": sum(lost.values()),
        "duplicated": counts.duplicated(),
        "faults": KILLS,
        "stages": counts.stages(),
        "lost_by_stage": lost,
    }
