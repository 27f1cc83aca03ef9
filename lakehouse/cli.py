"""The command `kidjamo-lake`: runs the flows, or shows their status."""

from __future__ import annotations

import argparse
import json
import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from typing import TYPE_CHECKING

from lakehouse.errors import LakeError, LakeInUse
from lakehouse.flows import PATIENT_DAILY, FlowStatus, StatusBoard
from lakehouse.settings import LakeSettings
from runtime.file_lock import is_locked, locked

if TYPE_CHECKING:
    from lakehouse.pipeline import Pipeline

log = logging.getLogger("lakehouse")

PROGRESS_EVERY_S = 10
_SETTINGS = """\
settings, from the environment:
  DATA_LAKE_PATH               directory of the Delta tables (./data_lake)
  KAFKA_BOOTSTRAP_SERVERS      (127.0.0.1:9092)
  KAFKA_STARTING_OFFSETS       earliest or latest: where the first start begins to read (earliest)
  KAFKA_FAIL_ON_DATA_LOSS      true: fail when Kafka has deleted messages that were not read yet;
                               false: continue with the remaining ones (true)
  RESET_STREAMING_CHECKPOINTS  true: read everything in Kafka again. Nothing is lost, deduplicated tables
                               stay free of duplicates, raw gets some. Unset it after that start (false)
  LAKE_LAYOUT                  clustered, or partitioned for a few children (clustered)
  LAKE_MEMORY_MB               Java heap (1536)
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; return 0 on success, 1 on failure, 2 on wrong usage."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("py4j").setLevel(logging.WARNING)
    try:
        settings = LakeSettings.from_environment(os.environ)
        return _status(settings, options.json) if options.command == "status" else _run(settings)
    except LakeError as error:
        print(f"kidjamo-lake: {error}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="kidjamo-lake",
        description="Writes Kafka topics into Delta tables: raw, bronze, silver, gold.",
        epilog=_SETTINGS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {version('kidjamo')}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="run|status")
    commands.add_parser("run", help="run all flows until interrupted")
    status = commands.add_parser("status", help="show rows, lag, freshness and last error of each flow")
    status.add_argument("--json", action="store_true", help="print one JSON document instead of a table")
    return parser


def _run(settings: LakeSettings) -> int:
    from lakehouse import session  # imported here because `status` does not need Spark
    from lakehouse.pipeline import Pipeline

    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    with _only_writer(settings):
        log.info("starting Spark; the tables are in %s", settings.path)
        spark = session.create("kidjamo-lake", settings.memory_mb)
        try:
            return _follow(Pipeline(spark, settings), stop)
        finally:
            spark.stop()


def _follow(pipeline: Pipeline, stop: threading.Event) -> int:
    """Run the pipeline in a thread and log its progress; return 1 if it ended by itself."""
    worker = threading.Thread(target=pipeline.run, name="pipeline")
    worker.start()
    while worker.is_alive() and not stop.wait(PROGRESS_EVERY_S):
        log.info("rows (lag): %s", ", ".join(map(_brief, pipeline.board.all())))
    requested = stop.is_set()
    if requested:
        log.info("stopping after the running micro-batches")
    pipeline.stop()
    worker.join()
    return 0 if requested else 1


@contextmanager
def _only_writer(settings: LakeSettings) -> Iterator[None]:
    """Lock the lake: on a file system, two writers of one table would overwrite each other's commits.

    Raises:
        LakeInUse: another process holds the lock.
    """
    settings.status.mkdir(parents=True, exist_ok=True)
    lock = settings.status / "writer.lock"
    lock.touch()
    try:
        with locked(lock):
            yield
    except BlockingIOError:
        raise LakeInUse(f"another kidjamo-lake is already running on {settings.path}") from None


def _is_running(settings: LakeSettings) -> bool:
    lock = settings.status / "writer.lock"
    return lock.exists() and is_locked(lock)


def _status(settings: LakeSettings, as_json: bool) -> int:
    if not settings.path.is_dir():
        print(f"kidjamo-lake: no lake at {settings.path}", file=sys.stderr)
        return 1
    board, running = StatusBoard(settings.status), _is_running(settings)
    if as_json:
        passes = [asdict(board.read(PATIENT_DAILY))]
        flows = [asdict(flow) for flow in board.all()]
        document = {"path": str(settings.path), "running": running, "flows": flows, "passes": passes}
        print(json.dumps(document, indent=2))
        return 0
    print(f"{settings.path}: {'running' if running else 'not running'}")
    print(f"{'flow':<16} {'rows':>10} {'lag':>8} {'freshness':>10} {'committed':>12}  last error")
    for flow in [*board.all(), board.read(PATIENT_DAILY)]:
        print(_line(flow, datetime.now(UTC)))
    return 0


def _line(flow: FlowStatus, now: datetime) -> str:
    lag = "?" if flow.lag is None else str(flow.lag)
    freshness = "-" if flow.freshness_s is None else f"{flow.freshness_s:.1f} s"
    commit = "never"
    if flow.committed_at:
        commit = f"{(now - datetime.fromisoformat(flow.committed_at)).total_seconds():.0f} s ago"
    return f"{flow.flow:<16} {flow.rows:>10} {lag:>8} {freshness:>10} {commit:>12}  {flow.last_error or '-'}"


def _brief(flow: FlowStatus) -> str:
    lag = f" ({flow.lag})" if flow.lag else ""
    failed = " !" if flow.last_error else ""
    return f"{flow.flow} {flow.rows}{lag}{failed}"
