"""The fault run of `make chaos AREA=gateway`, short: the gateway is killed repeatedly with SIGKILL."""

from __future__ import annotations

from pathlib import Path

from tests.chaos.gateway import killed_again_and_again


async def test_gateway_killed_at_random_moments_loses_and_duplicates_nothing(tmp_path: Path) -> None:
    survived = await killed_again_and_again(tmp_path, bracelets=6, kills=6)
    assert survived.measured > 60
    assert (survived.lost, survived.duplicated) == (0, 0)
