"""Where downloads live that outlast one checkout."""

from __future__ import annotations

import os
from pathlib import Path


def cache_dir() -> Path:
    """`$XDG_CACHE_HOME/kidjamo`, by default ~/.cache/kidjamo."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "kidjamo"
