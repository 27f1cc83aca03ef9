"""How tests are distributed over worker processes."""

from __future__ import annotations

from importlib.metadata import version

from xdist.scheduler import LoadScopeScheduling


def test_scheduler_has_the_method_that_is_overridden() -> None:
    assert "_split_scope" in vars(LoadScopeScheduling), (
        f"pytest-xdist {version('pytest-xdist')} has no LoadScopeScheduling._split_scope, as 3.8.0 had:"
        " tests that share a server would be spread over all workers"
    )
