"""The directory of downloads, shared by all checkouts."""

from __future__ import annotations

import os
from pathlib import Path


def cache_dir() -> Path:
    """Return `$XDG_CACHE_HOME/kidjamo`, by default ~/.cache/kidjamo."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "kidjamo"
