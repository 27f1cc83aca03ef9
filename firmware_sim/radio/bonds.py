"""Bonds of simulated radios that outlive their process, as those of real ones do."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from bumble.keys import JsonKeyStore


class KeyFile(JsonKeyStore):
    """Bumble's file of keys, which only its owner may read."""

    async def save(self, db: dict[str, dict[str, dict[str, Any]]]) -> None:
        """Replace the file as a whole; no moment passes in which others could open it."""
        fresh = self.filename.with_name(f"{self.filename.name}.tmp")
        fresh.unlink(missing_ok=True)
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(db, file, sort_keys=True, indent=4)
        fresh.replace(self.filename)


def kept_bonds(side: str, address: str) -> KeyFile:
    """The bonds of one radio, in `$XDG_STATE_HOME/kidjamo-sim` (by default ~/.local/state/kidjamo-sim).

    Args:
        side: `gateway` or `bracelets`: each side's process has a file of its own.
        address: of the radio.
    """
    state = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "kidjamo-sim"
    state.mkdir(parents=True, exist_ok=True, mode=0o700)
    return KeyFile(address, str(state / f"bonds-{side}.json"))
