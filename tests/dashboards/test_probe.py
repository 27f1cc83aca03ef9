"""Queries that Grafana could not draw are named, and do not spoil the ones after them."""

from __future__ import annotations

from datetime import timedelta

import pytest

from dashboards import probe
from dashboards.sql import View
from tests.dashboards.conftest import WardDatabase

VIEW = View.last(timedelta(hours=1), {"patient": "patient_id"})


def ask(ward: WardDatabase, sql: str, form: str = "time_series") -> probe.QueryResult:
    return probe.run(ward.database, probe.PanelQuery("board", "panel", sql, form), VIEW)


@pytest.mark.parametrize(
    ("sql", "error"),
    [
        ("SELECT 1 AS value", "a time series without a column `time`"),
        ("SELECT 'now' AS time, 1 AS value", "column `time` holds something that is no time"),
        (
            "SELECT * FROM (VALUES (2, 1), (1, 1)) AS v(time, value)",
            "rows are not in the order of `time`",
        ),
        ("SELECT now() AS time WHERE $ward IS NULL", "$ward: no such variable"),
        ("SELECT now() AS time, 1 / 0 AS value", "division by zero"),
    ],
)
def test_run_names_what_is_wrong(ward: WardDatabase, sql: str, error: str) -> None:
    assert ask(ward, sql).error == error
    assert ask(ward, "SELECT now() AS time, 1 AS value").error == ""


def test_run_gives_rows_columns_and_time(ward: WardDatabase) -> None:
    answer = ask(ward, "SELECT 1 AS one, pg_sleep(0.02)::text AS two", "table")
    assert (answer.columns, answer.rows) == (("one", "two"), ((1, ""),))
    assert 20 <= answer.milliseconds < 2000
