"""Bonds of simulated radios that outlive their process, as those of real ones do."""

from __future__ import annotations

import os
from pathlib import Path

from bumble.keys import JsonKeyStore


def kept_bonds(side: str, address: str) -> JsonKeyStore:
    """The bonds of one radio, in `$XDG_STATE_HOME/kidjamo-sim` (by default ~/.local/state/kidjamo-sim).

    Args:
        side: `gateway` or `bracelets`: each side's process has a file of its own.
        address: of the radio.
    """
    state = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "kidjamo-sim"
    state.mkdir(parents=True, exist_ok=True, mode=0o700)
    return JsonKeyStore(address, str(state / f"bonds-{side}.json"))
