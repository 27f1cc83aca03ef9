"""A short version of `make chaos AREA=ingest`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos.ingest import outages

pytestmark = pytest.mark.servers


async def test_no_accepted_reading_is_lost_or_duplicated_by_outages(tmp_path: Path) -> None:
    survived = await outages(tmp_path, rate=200, outage_s=3, calm_s=1)
    figures = survived.figures()
    assert survived.faults == 6
    assert len(survived.accepted) >= 1000
    assert (figures["lost"], figures["duplicated"], figures["difference"]) == (0, 0, 0)
    assert figures["accepted"] == figures["kafka_distinct"] == figures["postgresql_rows"]
