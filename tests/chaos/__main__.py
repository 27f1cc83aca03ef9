"""`make chaos` runs all long fault tests, `AREA=<area>` one; each writes evidence/chaos/<area>.json."""

from __future__ import annotations

import json
import sys

from tests import areas

AREAS = ("path", "link", "gateway", "offline", "ingest")
"""Modules of this package, each with a `run()` whose figures include lost, duplicated and faults."""


def show(area: str, figures: areas.Figures) -> None:
    """Print an area's figures in one line."""
    print(f"{area}: {json.dumps(figures)}")


if __name__ == "__main__":
    sys.exit(areas.run("chaos", AREAS, sys.argv[1:], show))
