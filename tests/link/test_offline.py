"""The run of `make chaos AREA=offline`, short: half an hour offline with an outbox for a third of it."""

from __future__ import annotations

from pathlib import Path

from tests.chaos.offline import days_offline


async def test_bounded_outbox_keeps_critical_readings_and_delivers_the_newest_first(tmp_path: Path) -> None:
    figures = await days_offline(tmp_path, hours=0.5, bound=8 * 2**20)
    assert figures["committed"] == 36_000
    assert figures["lost"] == figures["duplicated"] == 0
    assert int(str(figures["thinned"])) > 10_000
    assert int(str(figures["bytes_at_most"])) < 16 * 2**20
