"""The tracked files of the repository, as the tests of this folder read them."""

from __future__ import annotations

import ast
import subprocess
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = ("vitals", "runtime", "edge_gateway", "firmware_sim", "cloud_ingest", "lakehouse", "dashboards")


@cache
def tracked(suffix: str) -> tuple[Path, ...]:
    """Return the files with this suffix that git tracks or would add, relative to the root."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", f"*{suffix}"]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return tuple(Path(line) for line in sorted(set(listed.splitlines())) if (ROOT / line).is_file())


@cache
def parsed(path: Path) -> ast.Module:
    """Return the syntax tree of a tracked Python file."""
    return ast.parse((ROOT / path).read_text(), str(path))
