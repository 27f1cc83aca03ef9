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
from typing import TYPE_CHECKING, Any

from cloud_ingest.errors import InvalidSettings
from cloud_ingest.log_format import LogFormat
from vitals.errors import KidjamoError

if TYPE_CHECKING:
    from cloud_ingest.settings import Settings

log = logging.getLogger(__name__)

OK, FAILURE, USAGE, STILL_REFUSED = 0, 1, 2, 3
INTERRUPTED, BROKEN_PIPE = 128 + signal.SIGINT, 128 + signal.SIGPIPE
"""The exit codes by which a shell reports a process that these signals ended."""

_EPILOG = """
Settings come from the environment (API_PORT, KAFKA_BOOTSTRAP_SERVERS, PGHOST, ...); cloud_ingest/SETTINGS.md
documents each. Exit codes: 0 success, 1 failure, 2 invalid arguments or settings, 3 dead letters are still
refused, 130 interrupted, 141 standard output was closed.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return its exit code."""
    try:
        return _run(arguments) or _flush_output()
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        return BROKEN_PIPE
    except OSError as error:
        log.debug("command failed", exc_info=True)
        return _print_error(error, FAILURE)
    finally:
        _discard_unwritten_output()


def _run(arguments: Sequence[str] | None) -> int:
    chosen = _build_parser().parse_args(arguments)
    handler = logging.StreamHandler()
    handler.setFormatter(LogFormat())
    logging.basicConfig(level=chosen.log_level.upper(), handlers=[handler])
    logging.getLogger("alembic").setLevel(logging.WARNING)
    try:
        from cloud_ingest.settings import Settings

        settings = Settings.from_environment(os.environ)
        return int(chosen.command(settings, chosen))
    except InvalidSettings as error:
        return _print_error(error, USAGE)
    except KidjamoError as error:
        return _print_error(error, FAILURE)


def _flush_output() -> int:
    print(end="", flush=True)  # raises here, not at exit, where the disk is full or the pipe is closed
    return OK


def _discard_unwritten_output() -> None:
    """Send output that cannot be written to /dev/null; Python would print a traceback about it at exit."""
    try:
        _flush_output()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _build_parser() -> argparse.ArgumentParser:
    from importlib.metadata import version

    from cloud_ingest.access import cli as access_cli
    from cloud_ingest.privacy import cli as privacy_cli

    parser = argparse.ArgumentParser(
        prog="kidjamo-ingest",
        description="Ingestion of vital signs: HTTP to Kafka, Kafka to PostgreSQL, and alarm notifications.",
        epilog=_EPILOG,
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {version('kidjamo')}")
    parser.add_argument(
        "--log-level",
        default="info",
        choices=["debug", "info", "warning", "error"],
        help="how much to log on standard error (default: info)",
    )
    commands = parser.add_subparsers(required=True, metavar="command")
    for name, run, text in (
        ("serve", _serve, "serve the API until SIGTERM or SIGINT; prints its URL"),
        ("recorder", _recorder, "migrate the database, then record Kafka's topics in it until stopped"),
        ("alarms", _alarms, "evaluate Kafka's topics and send alarm notifications until stopped"),
        ("migrate", _migrate, "migrate the database and exit"),
        ("topics", _topics, "create the missing Kafka topics, list all and exit"),
    ):
        commands.add_parser(name, help=text, description=text).set_defaults(command=run)
    access_cli.add_commands(commands)
    privacy_cli.add_commands(commands)
    _add_replay(commands)
    return parser


def _add_replay(commands: Any) -> None:
    from uuid import UUID

    text = "send dead letters again whose reason has been repaired; repeating it adds nothing"
    parser = commands.add_parser("replay-errors", help=text, description=text)
    parser.add_argument("--since", type=_time, metavar="TIME", help="refused at or after (ISO 8601, UTC)")
    parser.add_argument("--until", type=_time, metavar="TIME", help="refused before this time")
    parser.add_argument("--reason", default="", metavar="TEXT", help="whose reason contains this text")
    parser.add_argument("--source", default="", choices=["api", "gateway", "recorder"], help="refused by")
    parser.add_argument("--error-id", action="append", type=UUID, default=[], help="only this; repeatable")
    parser.add_argument("--dry-run", action="store_true", help="only show what would happen to each")
    parser.set_defaults(command=_replay_errors)


def _time(text: str) -> datetime:
    time = datetime.fromisoformat(text)
    return time if time.tzinfo else time.replace(tzinfo=UTC)


# Each command imports what it needs, because all of them together take three seconds to load. Importing this
# module stays fast, so that an interrupt at start reaches main(), which exits without a traceback.


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
    print(f"database {settings.pg_database} is migrated")
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
    from cloud_ingest.ingest.dead_letters import LetterSelection
    from cloud_ingest.ingest.replay import replay
    from cloud_ingest.privacy.pseudonyms import pseudonyms

    selection = LetterSelection(
        chosen.since, chosen.until, chosen.reason, chosen.source, frozenset(chosen.error_id)
    )
    registry = Registry.open(settings.gateways_file) if settings.auth == "on" else None
    # asyncio's handler acts at the next await, and reading the topic has none.
    signal.signal(signal.SIGINT, _interrupt)
    counts = asyncio.run(
        replay(settings.kafka, selection, pseudonyms(settings), registry, print, dry_run=chosen.dry_run)
    )
    sent = "could be sent" if chosen.dry_run else "sent"
    print(
        f"{counts.selected} dead letters selected: {counts.repaired} {sent} with {counts.readings} readings, "
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


def _print_error(error: Exception, code: int) -> int:
    print(f"kidjamo-ingest: {str(error).strip().splitlines()[0]}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
