"""The installed gateway, which also records when the rules evaluated each reading.

    python -m tests.link.timed_gateway NOTES run --config gateway.toml

NOTES gets one line per evaluated reading: identity, time (seconds since 1970) and whether it came live.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import TextIO

from edge_gateway import cli
from edge_gateway.alarms.evaluator import Alarms
from vitals.reading import Reading
from vitals.rules import AlertRecord


def note_judgements(notes: TextIO) -> None:
    """Record every later call of `Alarms.judge`; the rules themselves are unchanged."""
    judge: Callable[[Alarms, Reading], tuple[AlertRecord, ...]] = Alarms.judge

    def noted(alarms: Alarms, reading: Reading) -> tuple[AlertRecord, ...]:
        found = judge(alarms, reading)
        live = reading.signal is not None and reading.signal.battery_pct is not None
        notes.write(f"{reading.message_id} {time.time():.6f} {int(live)}\n")
        return found

    setattr(Alarms, "judge", noted)  # noqa: B010 - replaces a method of the gateway


if __name__ == "__main__":
    with open(sys.argv[1], "w", buffering=1, encoding="ascii") as opened:
        note_judgements(opened)
        sys.exit(cli.main(sys.argv[2:]))
