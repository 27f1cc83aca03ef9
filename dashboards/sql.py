"""What Grafana makes of a panel's SQL before PostgreSQL sees it: variables first, then macros.

As much of Grafana's PostgreSQL macros as the panels use, so that every query can be run without a Grafana.
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
    """SQL with a macro or variable that this module does not know, or knows otherwise."""


@dataclass(frozen=True, slots=True)
class View:
    """What a person looks at.

    Attributes:
        start, end: the dashboard's time range.
        interval: width of one point in a graph, in Grafana's words, such as "30s".
        variables: the text that stands for each dashboard variable; see `quoted`.
    """

    start: datetime
    end: datetime
    variables: Mapping[str, str]
    interval: str = "30s"

    @classmethod
    def last(cls, width: timedelta, variables: Mapping[str, str], interval: str = "30s") -> View:
        """The time up to now."""
        now = datetime.now(UTC)
        return cls(now - width, now, variables, interval)


def literal(text: str) -> str:
    """Text as an SQL string."""
    return "'" + text.replace("'", "''") + "'"


def quoted(values: Iterable[str]) -> str:
    """The values chosen for a variable, as Grafana writes them into SQL: `'a','b'`."""
    return ",".join(literal(value) for value in values)


def expand(sql: str, view: View) -> str:
    """The SQL that PostgreSQL gets.

    Raises:
        NotExpandable: names the macro or variable.
    """
    expanded = _MACRO.sub(lambda call: _macro(call, view), substitute(sql, view))
    if left := re.search(r"\$\w+", expanded):
        raise NotExpandable(f"{left[0]}: unknown macro, or one without its arguments")
    return expanded


def substitute(sql: str, view: View) -> str:
    """The SQL with variables and `$__interval` put in, macros left: what Grafana's browser side sends.

    Raises:
        NotExpandable: names the variable.
    """

    def value(found: re.Match[str]) -> str:
        name = found["braced"] or found["plain"]
        if name == "__interval":
            return view.interval
        if name == "__interval_ms":
            return _number(1000 * _seconds(view.interval))
        if name.startswith("__"):
            return found[0]
        if name not in view.variables:
            raise NotExpandable(f"${name}: no such variable")
        if found["format"] not in (None, "sqlstring"):
            raise NotExpandable(f"{found[0]}: format {found['format']} is not known")
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
            # A third argument tells Grafana how to fill empty groups; the database does not see it.
            width = _number(_seconds(interval))
            expanded = f"floor(extract(epoch from {column})/{width})*{width}"
            if name == "__timeGroupAlias" or comma:  # so does Grafana when a comma follows
                expanded += ' AS "time"'
        case _:
            raise NotExpandable(f"{call[0]}: unknown macro, or not its arguments")
    return expanded + comma


def _moment(moment: datetime) -> str:
    utc = moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")
    return f"'{utc.rstrip('0').rstrip('.')}Z'"


def _seconds(interval: str) -> float:
    found = _INTERVAL.fullmatch(interval)
    if not found:
        raise NotExpandable(f"{interval}: not an interval")
    return int(found[1]) * _SECONDS[found[2]]


def _number(number: float) -> str:
    return repr(float(number)).removesuffix(".0")
