"""Checks of dashboard JSON that need no database."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from itertools import combinations
from pathlib import Path
from typing import Any

PROVISIONING = Path(__file__).parents[1] / "deploy" / "grafana" / "provisioning"
GRID_COLUMNS = 24


def provisioned_uids(provisioning: Path = PROVISIONING) -> set[str]:
    """Return the uids of the provisioned data sources."""
    files = (provisioning / "datasources").glob("*.yaml")
    return {
        uid
        for path in files
        for uid in re.findall(r"^\s*(?:-\s+)?uid:\s*(\S+)", path.read_text(encoding="utf-8"), re.MULTILINE)
    }


def faults(board: Mapping[str, Any], datasources: Collection[str]) -> Iterator[str]:
    """Yield a message for each fault of one dashboard.

    Args:
        board: decoded dashboard JSON.
        datasources: uids of the data sources that exist.
    """
    panels = board["panels"]
    for number, count in Counter(panel.get("id") for panel in panels).items():
        if number is None or count > 1:
            yield f"{count} panels with the id {number}"
    for first, second in combinations(panels, 2):
        if _overlap(first["gridPos"], second["gridPos"]):
            yield f"panels {_name(first)} and {_name(second)} overlap"
    for panel in panels:
        if panel["gridPos"]["x"] + panel["gridPos"]["w"] > GRID_COLUMNS:
            yield f"panel {_name(panel)} is wider than the page"
    for uid in sorted(_datasources(board) - set(datasources)):
        yield f"data source {uid} is not provisioned"


def _overlap(a: Mapping[str, int], b: Mapping[str, int]) -> bool:
    return (
        a["x"] < b["x"] + b["w"]
        and b["x"] < a["x"] + a["w"]
        and a["y"] < b["y"] + b["h"]
        and b["y"] < a["y"] + a["h"]
    )


def _datasources(part: object) -> set[str]:
    """Return the uids of all data sources in a piece of JSON."""
    match part:
        case Mapping():
            own = part.get("datasource")
            named = {own["uid"]} if isinstance(own, Mapping) and "uid" in own else set()
            return named.union(*(_datasources(value) for value in part.values()))
        case list():
            return set().union(*(_datasources(value) for value in part))
    return set()


def _name(panel: Mapping[str, Any]) -> str:
    return f"{panel.get('title') or panel['type']!r} ({panel.get('id')})"
