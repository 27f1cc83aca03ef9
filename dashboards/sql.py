"""Expansion of Grafana's variables and macros in a panel's SQL, in Grafana's order.

Supports the PostgreSQL macros that the panels use, so that every query can be run without Grafana.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from vitals.errors import KidjamoError

_VARIABLE = re.compile(r"\$(?:\{(?P<braced>\w+)(?::(?P<format>\w+))?\}|(?P<plain>\w+))")
_MACRO = re.compile(r"\$(?P<name>__\w+)\((?P<arguments>[^)]*)\)(?P<comma>,?)")
_INTERVAL = re.compile(r"'?(\d+)(ms|s|m|h|d)'?")
_SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}


class NotExpandable(KidjamoError, ValueError):
    """SQL with a macro or variable that is unknown or has other arguments."""


@dataclass(frozen=True, slots=True)
class View:
    """Selected time range and variables of a dashboard.

    Attributes:
        start, end: the time range.
        variables: text that replaces each dashboard variable; see `quoted`.
        interval: width of one point in a graph in Grafana's notation, such as "30s".
    """

    start: datetime
    end: datetime
    variables: Mapping[str, str]
    interval: str = "30s"

    @classmethod
    def last(cls, width: timedelta, variables: Mapping[str, str], interval: str = "30s") -> View:
        """Return a view of the time up to now."""
        now = datetime.now(UTC)
        return cls(now - width, now, variables, interval)


def literal(text: str) -> str:
    """Return text as an SQL string literal."""
    return "'" + text.replace("'", "''") + "'"


def quoted(values: Iterable[str]) -> str:
    """Return the selected values of a variable as Grafana writes them into SQL: `'a','b'`."""
    return ",".join(literal(value) for value in values)


def expand(sql: str, view: View) -> str:
    """Return the SQL that PostgreSQL receives.

    Raises:
        NotExpandable: a macro or variable is unknown; the message names it.
    """
    expanded = _MACRO.sub(lambda call: _macro(call, view), substitute(sql, view))
    if left := re.search(r"\$\w+", expanded):
        raise NotExpandable(f"{left[0]}: unknown macro, or one without its arguments")
    return expanded


def substitute(sql: str, view: View) -> str:
    """Replace variables and `$__interval` but not macros, like Grafana's browser side.

    Raises:
        NotExpandable: a variable is unknown; the message names it.
    """

    def value(match: re.Match[str]) -> str:
        name = match["braced"] or match["plain"]
        if name == "__interval":
            return view.interval
        if name == "__interval_ms":
            return _number(1000 * _seconds(view.interval))
        if name.startswith("__"):
            return match[0]
        if name not in view.variables:
            raise NotExpandable(f"${name}: no such variable")
        if match["format"] not in (None, "sqlstring"):
            raise NotExpandable(f"{match[0]}: unknown format {match['format']}")
        return view.variables[name]

    return _VARIABLE.sub(value, sql)


def _macro(call: re.Match[str], view: View) -> str:
    name, comma = call["name"], call["comma"]
    arguments = [argument.strip() for argument in call["arguments"].split(",")]
    match name, arguments:
        case "__timeFilter", [column] if column:
            expanded = f"{column} BETWEEN {_moment(view.start)} AND {_moment(view.end)}"
        case "__timeFrom", [""]:
            expanded = _moment(view.start)
        case "__timeTo", [""]:
            expanded = _moment(view.end)
        case "__timeGroup" | "__timeGroupAlias", [column, interval, *fill] if len(fill) <= 1:
            # The third argument says how Grafana fills empty groups; it is not part of the SQL.
            width = _number(_seconds(interval))
            expanded = f"floor(extract(epoch from {column})/{width})*{width}"
            if name == "__timeGroupAlias" or comma:  # like Grafana if a comma follows
                expanded += ' AS "time"'
        case _:
            raise NotExpandable(f"{call[0]}: unknown macro, or wrong arguments")
    return expanded + comma


def _moment(moment: datetime) -> str:
    utc = moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")
    return f"'{utc.rstrip('0').rstrip('.')}Z'"


def _seconds(interval: str) -> float:
    match = _INTERVAL.fullmatch(interval)
    if not match:
        raise NotExpandable(f"{interval}: not an interval")
    return int(match[1]) * _SECONDS[match[2]]


def _number(number: float) -> str:
    return repr(float(number)).removesuffix(".0")
