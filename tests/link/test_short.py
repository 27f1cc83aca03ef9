"""The fault run of `make chaos AREA=link`, short: bracelets forced off the air again and again."""

from __future__ import annotations

from pathlib import Path

from tests.chaos.link import trouble


async def test_bracelets_forced_off_the_air_lose_nothing(tmp_path: Path) -> None:
    outcome, faults = await trouble(tmp_path, bracelets=6, every_s=6.0, seconds=10.0)
    assert faults == 12
    assert len(outcome.measured) > 60
    assert (outcome.lost, outcome.duplicated, outcome.out_of_order) == (0, 0, 0)
    assert [each.live for each in outcome.kept].count(False) > 0  # something was fetched from flash
