"""The key store on disk."""

from __future__ import annotations

from pathlib import Path

from bumble.keys import PairingKeys

from firmware_sim.radio.bonds import bond_store


async def test_bond_store_persists_keys_readable_by_the_owner_only(tmp_path: Path) -> None:
    keys = PairingKeys()
    keys.ltk = PairingKeys.Key(value=bytes(range(16)))
    for peer in ("F0:00:00:00:00:02", "F0:00:00:00:00:03"):
        await bond_store("gateway", "F0:00:00:00:00:01").update(peer, keys)
    file = tmp_path / "state" / "kidjamo-sim" / "bonds-gateway.json"
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.parent.stat().st_mode & 0o777 == 0o700
    again = await bond_store("gateway", "F0:00:00:00:00:01").get("F0:00:00:00:00:03")
    assert again
    assert again.ltk
    assert again.ltk.value == bytes(range(16))
    assert [path.name for path in file.parent.iterdir()] == ["bonds-gateway.json"]
