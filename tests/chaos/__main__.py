"""`make chaos` runs every long fault run, `AREA=<area>` one; each writes evidence/chaos/<area>.json."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path

EVIDENCE = Path(__file__).parents[2] / "evidence" / "chaos"
AREAS = ("path",)
"""Modules of this package, each with a `run() -> dict` whose figures hold lost, duplicated and faults."""


def main(arguments: list[str]) -> int:
    """Run the areas named, or all; 1 when a reading was lost."""
    if unknown := [area for area in arguments if area not in AREAS]:
        print(f"no fault run named {', '.join(unknown)}; there are: {', '.join(AREAS)}", file=sys.stderr)
        return 2
    EVIDENCE.mkdir(parents=True, exist_ok=True)
    lost = 0
    for area in arguments or AREAS:
        figures = importlib.import_module(f"tests.chaos.{area}").run()
        (EVIDENCE / f"{area}.json").write_text(json.dumps(figures, indent=2) + "\n")
        print(f"{area}: {json.dumps(figures)}")
        lost += figures["lost"]
    return 1 if lost else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
