"""Dashboards -> JSON files: the same bytes each time, so that a file out of date shows."""

from __future__ import annotations

import json
from pathlib import Path

from grafana_foundation_sdk.cog.encoder import JSONEncoder

from dashboards.panels.ward import ward
from dashboards.words import LANGUAGES

GENERATED = Path(__file__).parent / "generated"


def rendered() -> dict[str, str]:
    """Text of each dashboard's file, by file name."""
    boards = [ward(words) for words in LANGUAGES]
    return {
        f"{(board.uid or '').removeprefix('kidjamo-')}.json": json.dumps(
            board, cls=JSONEncoder, indent=2, sort_keys=True, ensure_ascii=False
        )
        + "\n"
        for board in boards
    }


def write(directory: Path = GENERATED) -> list[Path]:
    """Write all dashboards; a file of a dashboard that is no more is deleted. Returns what changed."""
    directory.mkdir(parents=True, exist_ok=True)
    files = rendered()
    changed = []
    for name in out_of_date(directory):
        path = directory / name
        if name in files:
            path.write_text(files[name], encoding="utf-8")
        else:
            path.unlink()
        changed.append(path)
    return changed


def out_of_date(directory: Path = GENERATED) -> list[str]:
    """Names of files that are missing, differ from their dashboard, or belong to none."""
    files = rendered()
    found = {path.name: path.read_text(encoding="utf-8") for path in directory.glob("*.json")}
    return sorted(name for name in files.keys() | found.keys() if files.get(name) != found.get(name))
