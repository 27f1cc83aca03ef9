"""The command `kidjamo-dashboards`: renders the Grafana dashboards and checks them."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator, Sequence
from datetime import timedelta
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psycopg2
from psycopg2.extensions import connection

from dashboards import probe, render, structure
from dashboards.sql import View

OK, FAILURE = 0, 1
DEFAULT_HOST, DEFAULT_DATABASE = "127.0.0.1", "kidjamo-db"
RANGE, INTERVAL = timedelta(hours=1), "10s"
"""The time range a dashboard shows when it is opened, and the width of its points."""

_CHECK = """
Checks that the generated files are up to date and valid, then runs every query on PostgreSQL, over the last
hour and all children. PGHOST, PGPORT, PGDATABASE (kidjamo-db), PGUSER and PGPASSWORD select the database.
Changes nothing.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; return 0 on success, 1 if something is wrong; argparse exits with 2 on wrong usage."""
    options = _parser().parse_args(arguments)
    return int(options.command(options))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="kidjamo-dashboards",
        description="Renders the Grafana dashboards and checks them against a database.",
        epilog="Exit codes: 0 success, 1 something is wrong (see standard error), 2 wrong usage.",
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {version('kidjamo')}")
    commands = parser.add_subparsers(required=True, metavar="command")
    command = commands.add_parser("render", help="write the dashboards' JSON files")
    command.add_argument("--check", action="store_true", help="write nothing; fail if a file is out of date")
    command.add_argument(
        "--output",
        type=Path,
        default=render.GENERATED,
        metavar="DIRECTORY",
        help="directory of the files (default: %(default)s)",
    )
    command.set_defaults(command=_render)
    command = commands.add_parser(
        "check", help="check the files and run every query on PostgreSQL", description=_CHECK
    )
    command.set_defaults(command=_check)
    return parser


def _render(options: argparse.Namespace) -> int:
    if options.check:
        return _report(_out_of_date(options.output))
    for path in render.write(options.output):
        print(path)
    return OK


def _check(_: argparse.Namespace) -> int:
    boards = [json.loads(text) for text in render.rendered().values()]
    uids = structure.provisioned_uids()
    problems = list(_out_of_date(render.GENERATED))
    problems += [f"{board['uid']}: {fault}" for board in boards for fault in structure.faults(board, uids)]
    try:
        database = _connect()
    except psycopg2.OperationalError as error:
        return _report([*problems, f"PostgreSQL: {str(error).strip()}"])
    try:
        results = [result for board in boards for result in _run_queries(database, board)]
    finally:
        database.close()
    _print_table(results)
    problems += [f"{r.query.dashboard}: {r.query.panel}: {r.error}" for r in results if r.error]
    return _report(problems)


def _out_of_date(directory: Path) -> Iterator[str]:
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


def _run_queries(database: connection, board: dict[str, Any]) -> Iterator[probe.QueryResult]:
    view = View.last(RANGE, probe.everything(board), interval=INTERVAL)
    for query in probe.queries(board):
        yield probe.run(database, query, view)


def _print_table(results: Sequence[probe.QueryResult]) -> None:
    width = max(len(r.query.panel) for r in results)
    print(f"{'dashboard':<16}  {'panel':<{width}}  {'rows':>7}  {'ms':>7}")
    for r in results:
        figures = "error" if r.error else f"{len(r.rows):>7}  {r.milliseconds:>7.1f}"
        print(f"{r.query.dashboard:<16}  {r.query.panel:<{width}}  {figures:>7}")


def _report(problems: Sequence[str] | Iterator[str]) -> int:
    code = OK
    for problem in problems:
        print(problem, file=sys.stderr)
        code = FAILURE
    return code


if __name__ == "__main__":
    sys.exit(main())
