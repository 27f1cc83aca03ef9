"""The command `kidjamo-ingest`."""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
import threading
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from cloud_ingest.errors import InvalidSettings
from cloud_ingest.log_format import LogFormat
from vitals.errors import KidjamoError

if TYPE_CHECKING:
    from cloud_ingest.settings import Settings

log = logging.getLogger(__name__)

OK, FAILURE, USAGE, STILL_REFUSED = 0, 1, 2, 3
INTERRUPTED, NOBODY_READS = 128 + signal.SIGINT, 128 + signal.SIGPIPE
"""As a shell reports an end by these signals."""

_EPILOG = """
Settings come from the environment (API_PORT, KAFKA_BOOTSTRAP_SERVERS, PGHOST, ...); cloud_ingest/SETTINGS.md
explains each. Exit codes: 0 as asked, 1 failure, 2 wrong usage or settings, 3 dead letters are still refused,
130 interrupted, 141 nobody reads the output any more.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code."""
    try:
        return _run(arguments) or _written()
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        return NOBODY_READS
    except OSError as error:
        log.debug("ended by an error", exc_info=True)
        return _complain(error, FAILURE)
    finally:
        _drop_unwritten()


def _run(arguments: Sequence[str] | None) -> int:
    chosen = _parser().parse_args(arguments)
    handler = logging.StreamHandler()
    handler.setFormatter(LogFormat())
    logging.basicConfig(level=chosen.log_level.upper(), handlers=[handler])
    logging.getLogger("alembic").setLevel(logging.WARNING)
    try:
        from cloud_ingest.settings import Settings

        settings = Settings.from_environment(os.environ)
        return int(chosen.command(settings, chosen))
    except InvalidSettings as error:
        return _complain(error, USAGE)
    except KidjamoError as error:
        return _complain(error, FAILURE)


def _written() -> int:
    print(end="", flush=True)  # a full disk or a reader that went away is found out here, not after the end
    return OK


def _drop_unwritten() -> None:
    """Python would write what is left once more at its end, and complain in its own way."""
    try:
        _written()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _parser() -> argparse.ArgumentParser:
    from cloud_ingest.access import cli as access_cli
    from cloud_ingest.privacy import cli as privacy_cli

    parser = argparse.ArgumentParser(
        prog="kidjamo-ingest",
        description="Takes vital signs over HTTP into Kafka, from Kafka into PostgreSQL, and alarms people.",
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
        ("alarms", _alarms, "watch Kafka's topics and tell people of alarms until stopped"),
        ("migrate", _migrate, "bring the database up to date and exit"),
        ("topics", _topics, "create the Kafka topics that are missing, list all and exit"),
    ):
        commands.add_parser(name, help=text, description=text).set_defaults(command=run)
    access_cli.add_commands(commands)
    privacy_cli.add_commands(commands)
    _add_replay(commands)
    return parser


def _add_replay(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    from uuid import UUID

    text = "send dead letters again whose reason has been repaired; a second time adds nothing"
    parser = commands.add_parser("replay-errors", help=text, description=text)
    parser.add_argument("--since", type=_moment, metavar="TIME", help="refused then or later (ISO 8601, UTC)")
    parser.add_argument("--until", type=_moment, metavar="TIME", help="refused before this time")
    parser.add_argument("--reason", default="", metavar="TEXT", help="whose reason holds this text")
    parser.add_argument("--source", default="", choices=["api", "gateway", "recorder"], help="refused there")
    parser.add_argument("--error-id", action="append", type=UUID, default=[], help="only these")
    parser.add_argument("--dry-run", action="store_true", help="only show what would become of each")
    parser.set_defaults(command=_replay_errors)


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


# Each command imports what it needs: together they take three seconds to load. Nor does anything above: a key
# pressed while this module loads would find nobody who ends quietly.


def _serve(settings: Settings, _chosen: argparse.Namespace) -> int:
    from cloud_ingest.api.server import serve

    return OK if serve(settings) else FAILURE


def _recorder(settings: Settings, _chosen: argparse.Namespace) -> int:
    from cloud_ingest.recorder.recorder import Recorder

    Recorder(settings, _stop_on_signals()).run()
    return OK


def _alarms(settings: Settings, _chosen: argparse.Namespace) -> int:
    import asyncio

    from cloud_ingest.alarms.process import watch

    asyncio.run(watch(settings, _stop_on_signals()))
    return OK


def _migrate(settings: Settings, _chosen: argparse.Namespace) -> int:
    from cloud_ingest.postgres.migrations import migrate

    migrate(settings)
    print(f"database {settings.pg_database} is up to date")
    return OK


def _topics(settings: Settings, _chosen: argparse.Namespace) -> int:
    from cloud_ingest.kafka.admin import admin_client, create_topics, partitions_of_topics

    client = admin_client(settings.kafka)
    created = create_topics(client)
    for topic, partitions in partitions_of_topics(client).items():
        print(f"{topic}  {partitions} partitions{'  created' if topic in created else ''}")
    return OK


def _replay_errors(settings: Settings, chosen: argparse.Namespace) -> int:
    import asyncio

    from cloud_ingest.access.registry import Registry
    from cloud_ingest.ingest.replay import Selection, replay
    from cloud_ingest.privacy.pseudonyms import pseudonyms

    selection = Selection(
        chosen.since, chosen.until, chosen.reason, chosen.source, frozenset(chosen.error_id)
    )
    hidden = pseudonyms(settings)
    registry = Registry.open(settings.gateways_file) if settings.auth == "on" else None
    # asyncio's own handler waits for an await, and reading the topic has none
    signal.signal(signal.SIGINT, _interrupt)
    counts = asyncio.run(replay(settings.kafka, selection, hidden, registry, print, dry_run=chosen.dry_run))
    done = "could be sent" if chosen.dry_run else "sent"
    print(
        f"{counts.selected} dead letters selected: {counts.repaired} {done} with {counts.readings} readings, "
        f"{counts.still_refused} still refused"
    )
    return STILL_REFUSED if counts.still_refused else OK


def _stop_on_signals() -> threading.Event:
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    return stop


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def _complain(error: Exception, code: int) -> int:
    print(f"kidjamo-ingest: {str(error).strip().splitlines()[0]}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
