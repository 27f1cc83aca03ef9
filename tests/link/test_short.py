"""The fault run of `make chaos AREA=link`, short: bracelets lose their links repeatedly."""

from __future__ import annotations

from pathlib import Path

from tests.chaos.link import trouble


async def test_bracelets_with_repeated_link_losses_lose_no_reading(tmp_path: Path) -> None:
    outcome, faults = await trouble(tmp_path, bracelets=6, every_s=6.0, seconds=10.0)
    assert faults == 12
    assert len(outcome.measured) > 60
    assert (outcome.lost, outcome.duplicated, outcome.out_of_order) == (0, 0, 0)
    assert [each.live for each in outcome.kept].count(False) > 0  # some were fetched from flash
