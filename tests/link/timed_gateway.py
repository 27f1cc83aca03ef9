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
from edge_gateway.alarms.evaluator import AlarmEvaluator
from vitals.reading import Reading
from vitals.rules import AlertRecord


def note_judgements(notes: TextIO) -> None:
    """Have every later `AlarmEvaluator.evaluate` recorded; the rules run unchanged."""
    evaluate: Callable[[AlarmEvaluator, Reading], tuple[AlertRecord, ...]] = AlarmEvaluator.evaluate

    def noted(alarms: AlarmEvaluator, reading: Reading) -> tuple[AlertRecord, ...]:
        found = evaluate(alarms, reading)
        live = reading.signal is not None and reading.signal.battery_pct is not None
        notes.write(f"{reading.message_id} {time.time():.6f} {int(live)}\n")
        return found

    setattr(AlarmEvaluator, "evaluate", noted)  # noqa: B010 - the point is that the gateway does not know


if __name__ == "__main__":
    with open(sys.argv[1], "w", buffering=1, encoding="ascii") as opened:
        note_judgements(opened)
        sys.exit(cli.main(sys.argv[2:]))
