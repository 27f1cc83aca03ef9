"""Expansion of Grafana's macros and variables, written out."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from dashboards.sql import NotExpandable, View, expand, literal, quoted, substitute

VIEW = View(
    start=datetime(2025, 8, 24, 10, 30, tzinfo=UTC),
    end=datetime(2025, 8, 24, 13, 0, 0, 250_000, tzinfo=timezone(timedelta(hours=2))),
    variables={"patient": "'a','b'"},
    interval="30s",
)


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        (
            "WHERE $__timeFilter(m.timestamp)",
            "WHERE m.timestamp BETWEEN '2025-08-24T10:30:00Z' AND '2025-08-24T11:00:00.25Z'",
        ),
        ("> $__timeFrom()", "> '2025-08-24T10:30:00Z'"),
        ("< $__timeTo()::timestamptz", "< '2025-08-24T11:00:00.25Z'::timestamptz"),
        (
            "SELECT $__timeGroupAlias(t, $__interval), x",
            'SELECT floor(extract(epoch from t)/30)*30 AS "time", x',
        ),
        (
            "SELECT $__timeGroupAlias(t,'1h',NULL) FROM x",
            'SELECT floor(extract(epoch from t)/3600)*3600 AS "time" FROM x',
        ),
        (
            "GROUP BY $__timeGroup(t, 500ms)",
            "GROUP BY floor(extract(epoch from t)/0.5)*0.5",
        ),
        ("$__timeGroup(t, 30d)", "floor(extract(epoch from t)/2592000)*2592000"),
        ("SELECT $__timeGroup(t,1m), x", 'SELECT floor(extract(epoch from t)/60)*60 AS "time", x'),
        ("interval '$__interval' / $__interval_ms", "interval '30s' / 30000"),
        ("IN ($patient)", "IN ('a','b')"),
        ("IN (${patient}) OR IN (${patient:sqlstring})", "IN ('a','b') OR IN ('a','b')"),
        ("no macro at all", "no macro at all"),
    ],
)
def test_expand_returns_the_sql_that_grafana_sends(sql: str, expected: str) -> None:
    assert expand(sql, VIEW) == expected


@pytest.mark.parametrize(
    "sql",
    [
        "$__timeFilter()",
        "$__timeFilter",
        "$__timeGroup(t)",
        "$__timeGroup(t, soon)",
        "$__unixEpochFilter(t)",
        "$ward",
        "${patient:csv}",
    ],
)
def test_expand_refuses_what_it_does_not_know(sql: str) -> None:
    with pytest.raises(NotExpandable):
        expand(sql, VIEW)


def test_substitute_leaves_macros_to_the_server() -> None:
    sql = "$__timeGroupAlias(t, $__interval) WHERE $__timeFilter(t) AND p IN ($patient)"
    assert substitute(sql, VIEW) == "$__timeGroupAlias(t, 30s) WHERE $__timeFilter(t) AND p IN ('a','b')"


def test_quoted_with_an_apostrophe_stays_one_string() -> None:
    assert quoted(["o'neil", "b"]) == "'o''neil','b'"
    assert literal("l'âge") == "'l''âge'"
