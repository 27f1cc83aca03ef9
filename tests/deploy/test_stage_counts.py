"""Which readings count as lost."""

from __future__ import annotations

from collections import Counter

from deploy.local.stage_counts import StageCounts, StageReadings


def test_lost_ignores_erased_children_in_postgresql() -> None:
    whole, recorded, nothing = (
        StageReadings(Counter("abc")),
        StageReadings(Counter("a")),
        StageReadings(Counter()),
    )

    def stage_counts(erased: set[str]) -> StageCounts:
        return StageCounts(whole, whole, whole, whole, whole, recorded, nothing, set(), erased, 1, 3)

    assert stage_counts(set()).lost() == {"postgresql": 2}
    assert stage_counts({"b"}).lost() == {"postgresql": 1}
    assert stage_counts({"b", "c"}).lost() == {}
