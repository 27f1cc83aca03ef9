"""Queries that Grafana could not draw are reported, and do not break the next ones."""

from __future__ import annotations

from datetime import timedelta

import pytest

from dashboards import probe
from dashboards.sql import View
from tests.dashboards.conftest import WardDatabase

VIEW = View.last(timedelta(hours=1), {"patient": "patient_id"})


def run(ward: WardDatabase, sql: str, form: str = "time_series") -> probe.QueryResult:
    return probe.run(ward.database, probe.PanelQuery("board", "panel", sql, form), VIEW)


@pytest.mark.parametrize(
    ("sql", "error"),
    [
        ("SELECT 1 AS value", "a time series without a column `time`"),
        ("SELECT 'now' AS time, 1 AS value", "column `time` has a value that is not a time"),
        (
            "SELECT * FROM (VALUES (2, 1), (1, 1)) AS v(time, value)",
            "rows are not ordered by `time`",
        ),
        ("SELECT now() AS time WHERE $ward IS NULL", "$ward: no such variable"),
        ("SELECT now() AS time, 1 / 0 AS value", "division by zero"),
    ],
)
def test_run_names_what_is_wrong(ward: WardDatabase, sql: str, error: str) -> None:
    assert run(ward, sql).error == error
    assert run(ward, "SELECT now() AS time, 1 AS value").error == ""


def test_run_returns_rows_columns_and_duration(ward: WardDatabase) -> None:
    result = run(ward, "SELECT 1 AS one, pg_sleep(0.02)::text AS two", "table")
    assert (result.columns, result.rows) == (("one", "two"), ((1, ""),))
    assert 20 <= result.milliseconds < 2000
