"""Runner for the areas of `make chaos` and `make bench`, which writes the figures of each."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

EVIDENCE = Path(__file__).parents[1] / "evidence"

Figures = Mapping[str, object]


def run(kind: str, areas: Sequence[str], chosen: Sequence[str], show: Callable[[str, Figures], None]) -> int:
    """Run `tests.<kind>.<area>.run()` for the chosen areas and write their figures.

    Args:
        kind: package of the areas, and folder of their evidence.
        areas: all areas.
        chosen: the areas to run; empty runs all.
        show: prints an area's figures.

    Returns:
        0 on success, 1 if an area lost a reading, 2 if an area does not exist.
    """
    if unknown := [area for area in chosen if area not in areas]:
        print(f"unknown area: {', '.join(unknown)}; choose from: {', '.join(areas)}", file=sys.stderr)
        return 2
    (EVIDENCE / kind).mkdir(parents=True, exist_ok=True)
    lost = False
    for area in chosen or areas:
        figures: Figures = importlib.import_module(f"tests.{kind}.{area}").run()
        (EVIDENCE / kind / f"{area}.json").write_text(json.dumps(figures, indent=2) + "\n")
        show(area, figures)
        lost |= bool(figures.get("lost") or figures.get("lost_readings"))
    return int(lost)
