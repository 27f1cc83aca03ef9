"""The command `kidjamo-dashboards`."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg2
from psycopg2.extensions import connection

from dashboards import probe, render, structure
from dashboards.sql import View

OK, FAILURE = 0, 1
DEFAULT_HOST, DEFAULT_DATABASE = "127.0.0.1", "kidjamo-db"
RANGE, INTERVAL = timedelta(hours=1), "10s"
"""What a dashboard shows when it is opened."""

_CHECK = """
Checks that the generated files are up to date and well-formed, then runs every query on the PostgreSQL that
PGHOST, PGPORT, PGDATABASE (kidjamo-db), PGUSER and PGPASSWORD name, over the last hour and all children.
Changes nothing.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code."""
    chosen = _parser().parse_args(arguments)
    return int(chosen.command(chosen))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="kidjamo-dashboards",
        description="Renders the Grafana dashboards and checks them against a database.",
        epilog="Exit codes: 0 in order, 1 something is wrong (standard error says what), 2 wrong usage.",
    )
    commands = parser.add_subparsers(required=True, metavar="command")
    command = commands.add_parser("render", help="write the dashboards' JSON files")
    command.add_argument(
        "--check", action="store_true", help="write nothing; fail where a file is out of date"
    )
    command.add_argument(
        "--output",
        type=Path,
        default=render.GENERATED,
        metavar="DIRECTORY",
        help="where the files are (default: %(default)s)",
    )
    command.set_defaults(command=_render)
    command = commands.add_parser(
        "check", help="check the files, and run every query on PostgreSQL", description=_CHECK
    )
    command.set_defaults(command=_check)
    return parser


def _render(chosen: argparse.Namespace) -> int:
    if chosen.check:
        return _complain(_stale(chosen.output))
    for path in render.write(chosen.output):
        print(path)
    return OK


def _check(_: argparse.Namespace) -> int:
    boards = [json.loads(text) for text in render.rendered().values()]
    uids = structure.provisioned_uids()
    problems = list(_stale(render.GENERATED))
    problems += [f"{board['uid']}: {fault}" for board in boards for fault in structure.faults(board, uids)]
    try:
        database = _connect()
    except psycopg2.OperationalError as error:
        return _complain([*problems, f"PostgreSQL: {str(error).strip()}"])
    try:
        answers = [answer for board in boards for answer in _answers(database, board)]
    finally:
        database.close()
    _print_table(answers)
    problems += [f"{a.query.dashboard}: {a.query.panel}: {a.error}" for a in answers if a.error]
    return _complain(problems)


def _stale(directory: Path) -> Iterator[str]:
    for name in render.out_of_date(directory):
        yield f"{directory / name} is out of date: run `kidjamo-dashboards render`"


def _connect() -> connection:
    database: connection = psycopg2.connect(
        host=os.environ.get("PGHOST") or DEFAULT_HOST,
        dbname=os.environ.get("PGDATABASE") or DEFAULT_DATABASE,
        connect_timeout=int(os.environ.get("PGCONNECT_TIMEOUT") or 2),
        application_name="kidjamo-dashboards check",
        options="-c statement_timeout=30s",
    )
    database.set_session(readonly=True)
    return database


def _answers(database: connection, board: dict[str, Any]) -> Iterator[probe.QueryResult]:
    view = View.last(RANGE, probe.everything(board), interval=INTERVAL)
    for query in probe.queries(board):
        yield probe.run(database, query, view)


def _print_table(answers: Sequence[probe.QueryResult]) -> None:
    width = max(len(a.query.panel) for a in answers)
    print(f"{'dashboard':<16}  {'panel':<{width}}  {'rows':>7}  {'ms':>7}")
    for a in answers:
        figures = "error" if a.error else f"{len(a.rows):>7}  {a.milliseconds:>7.1f}"
        print(f"{a.query.dashboard:<16}  {a.query.panel:<{width}}  {figures:>7}")


def _complain(problems: Sequence[str] | Iterator[str]) -> int:
    code = OK
    for problem in problems:
        print(problem, file=sys.stderr)
        code = FAILURE
    return code


if __name__ == "__main__":
    sys.exit(main())
