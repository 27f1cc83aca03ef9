"""The command `kidjamo-ingest`."""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
import threading
from collections.abc import Sequence

from cloud_ingest import keeping_cli
from cloud_ingest.errors import InvalidSettings
from cloud_ingest.settings import Settings
from vitals.errors import KidjamoError

OK, FAILURE, USAGE = 0, 1, 2

_EPILOG = """
Settings come from the environment (API_PORT, KAFKA_BOOTSTRAP_SERVERS, PGHOST, ...); cloud_ingest/SETTINGS.md
explains each. Exit codes: 0 ended as asked, 1 failure, 2 wrong usage or settings.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code."""
    chosen = _parser().parse_args(arguments)
    logging.basicConfig(
        level=chosen.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    logging.getLogger("alembic").setLevel(logging.WARNING)
    try:
        settings = Settings.from_environment(os.environ)
        return int(chosen.command(settings, chosen))
    except InvalidSettings as error:
        return _complain(error, USAGE)
    except KidjamoError as error:
        return _complain(error, FAILURE)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="kidjamo-ingest",
        description="Takes vital signs over HTTP into Kafka, and from Kafka into PostgreSQL.",
        epilog=_EPILOG,
    )
    parser.add_argument(
        "--log-level",
        default="info",
        choices=["debug", "info", "warning", "error"],
        help="how much to log on standard error (default: info)",
    )
    commands = parser.add_subparsers(required=True, metavar="command")
    for name, run, text in (
        ("serve", _serve, "serve the API until SIGTERM or SIGINT; prints the URL it took"),
        (
            "recorder",
            _recorder,
            "bring the database up to date, then record Kafka's topics into it until stopped",
        ),
        ("migrate", _migrate, "bring the database up to date and exit"),
        ("topics", _topics, "create the Kafka topics that are missing and exit"),
    ):
        commands.add_parser(name, help=text, description=text).set_defaults(command=run)
    keeping_cli.add_commands(commands)
    return parser


# Each command imports what it needs: together they take three seconds to load.


def _serve(settings: Settings, _chosen: argparse.Namespace) -> int:
    from cloud_ingest.server import serve

    return OK if serve(settings) else FAILURE


def _recorder(settings: Settings, _chosen: argparse.Namespace) -> int:
    from cloud_ingest.recorder import Recorder

    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    Recorder(settings, stop).run()
    return OK


def _migrate(settings: Settings, _chosen: argparse.Namespace) -> int:
    from cloud_ingest.migrations import migrate

    migrate(settings)
    print(f"database {settings.pg_database} is up to date")
    return OK


def _topics(settings: Settings, _chosen: argparse.Namespace) -> int:
    from cloud_ingest.kafka_watch import admin_client, create_topics

    created = create_topics(admin_client(settings.kafka))
    print("created: " + ", ".join(created) if created else "all topics are there")
    return OK


def _complain(error: Exception, code: int) -> int:
    print(f"kidjamo-ingest: {str(error).strip().splitlines()[0]}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
