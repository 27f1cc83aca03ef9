"""Dashboards -> JSON files, reproducible to the byte so that outdated files can be detected."""

from __future__ import annotations

import json
from pathlib import Path

from grafana_foundation_sdk.cog.encoder import JSONEncoder

from dashboards.panels.ward import ward
from dashboards.words import LANGUAGES

GENERATED = Path(__file__).parent / "generated"


def rendered() -> dict[str, str]:
    """Return the content of each dashboard's file, by file name."""
    boards = [ward(words) for words in LANGUAGES]
    return {
        f"{(board.uid or '').removeprefix('kidjamo-')}.json": json.dumps(
            board, cls=JSONEncoder, indent=2, sort_keys=True, ensure_ascii=False
        )
        + "\n"
        for board in boards
    }


def write(directory: Path = GENERATED) -> list[Path]:
    """Write all dashboards, delete files of removed ones, and return the files that changed."""
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
    """Return the names of files that are missing, differ from their dashboard, or belong to none."""
    files = rendered()
    existing = {path.name: path.read_text(encoding="utf-8") for path in directory.glob("*.json")}
    return sorted(name for name in files.keys() | existing.keys() if files.get(name) != existing.get(name))
