"""Execution of a dashboard's queries on PostgreSQL, as Grafana does it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

import psycopg2
from psycopg2.extensions import connection

from dashboards.sql import NotExpandable, View, expand, quoted

_Time = int | float | Decimal | datetime


@dataclass(frozen=True, slots=True)
class PanelQuery:
    """One query of a dashboard.

    Attributes:
        dashboard: uid of its dashboard.
        panel: title of its panel, or the variable's name with a leading `$`.
        sql: the SQL, with Grafana's macros and variables.
        format: "time_series" or "table".
    """

    dashboard: str
    panel: str
    sql: str
    format: str


@dataclass(frozen=True, slots=True)
class QueryResult:
    """Result of one query.

    Attributes:
        query: the query.
        columns: names of the columns.
        rows: the rows.
        milliseconds: time from sending the query to the last row.
        error: why Grafana cannot show the result; empty if it can.
    """

    query: PanelQuery
    columns: tuple[str, ...] = ()
    rows: tuple[tuple[Any, ...], ...] = ()
    milliseconds: float = 0.0
    error: str = ""


def queries(board: Mapping[str, Any]) -> Iterator[PanelQuery]:
    """Yield all queries of decoded dashboard JSON: first those of variables, then those of panels."""
    for variable in board["templating"]["list"]:
        if variable["type"] == "query":
            yield PanelQuery(board["uid"], f"${variable['name']}", variable["query"], "table")
    for panel in board["panels"]:
        for target in panel.get("targets", ()):
            yield PanelQuery(board["uid"], panel.get("title", ""), target["rawSql"], target["format"])


def everything(board: Mapping[str, Any]) -> dict[str, str]:
    """Return the text of each variable when "All" is selected, which is the default."""
    return {
        variable["name"]: variable.get("allValue")
        or quoted(str(option["value"]) for option in variable.get("options", ()))
        for variable in board["templating"]["list"]
    }


def run(database: connection, query: PanelQuery, view: View) -> QueryResult:
    """Run one query; a failure is part of the result, and the connection stays usable."""
    start = time.perf_counter()
    try:
        sql = expand(query.sql, view)
        with database.cursor() as cursor:
            cursor.execute("SAVEPOINT panel")
            try:
                cursor.execute(sql)
                rows = tuple(cursor.fetchall())
                columns = tuple(column.name for column in cursor.description or ())
            finally:
                cursor.execute("ROLLBACK TO SAVEPOINT panel")
    except (psycopg2.Error, NotExpandable) as error:
        return QueryResult(query, error=str(error).strip())
    milliseconds = 1000 * (time.perf_counter() - start)
    return QueryResult(query, columns, rows, milliseconds, _problem(query, columns, rows))


def _problem(query: PanelQuery, columns: tuple[str, ...], rows: tuple[tuple[Any, ...], ...]) -> str:
    """Return why Grafana could not draw this as a time series; empty if it can."""
    if query.format != "time_series":
        return ""
    if "time" not in columns:
        return "a time series without a column `time`"
    times = [row[columns.index("time")] for row in rows]
    if not all(isinstance(moment, _Time) for moment in times):
        return "column `time` has a value that is not a time"
    seconds = [moment.timestamp() if isinstance(moment, datetime) else moment for moment in times]
    return "" if seconds == sorted(seconds) else "rows are not ordered by `time`"
