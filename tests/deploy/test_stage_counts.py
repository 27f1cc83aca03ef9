"""What counts as lost."""

from __future__ import annotations

from collections import Counter

from deploy.local.stage_counts import StageCounts, StageReadings


def test_reading_that_postgresql_lacks_is_lost_unless_its_child_was_erased() -> None:
    whole, recorded, nothing = (
        StageReadings(Counter("abc")),
        StageReadings(Counter("a")),
        StageReadings(Counter()),
    )

    def census(erased: set[str]) -> StageCounts:
        return StageCounts(whole, whole, whole, whole, whole, recorded, nothing, set(), erased, 1, 3)

    assert census(set()).lost() == {"postgresql": 2}
    assert census({"b"}).lost() == {"postgresql": 1}
    assert census({"b", "c"}).lost() == {}
