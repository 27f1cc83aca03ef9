"""Bluetooth bonds of simulated radios, kept on disk as real devices keep theirs."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from bumble.keys import JsonKeyStore


class KeyFile(JsonKeyStore):
    """Bumble's JSON key store, readable only by its owner."""

    async def save(self, db: dict[str, dict[str, dict[str, Any]]]) -> None:
        """Replace the file atomically; it is never readable by others."""
        fresh = self.filename.with_name(f"{self.filename.name}.tmp")
        fresh.unlink(missing_ok=True)
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(db, file, sort_keys=True, indent=4)
        fresh.replace(self.filename)


def bond_store(side: str, address: str) -> KeyFile:
    """Return the bonds of one radio, stored in `$XDG_STATE_HOME/kidjamo-sim` (~/.local/state/kidjamo-sim).

    Args:
        side: `gateway` or `bracelets`; each process has its own file.
        address: address of the radio.
    """
    state = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "kidjamo-sim"
    state.mkdir(parents=True, exist_ok=True, mode=0o700)
    return KeyFile(address, str(state / f"bonds-{side}.json"))
