"""Supervision of streaming queries: start, monitoring, restart, and stop between micro-batches."""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from pyspark.sql.streaming.query import StreamingQuery

from lakehouse.flows import StatusBoard

log = logging.getLogger(__name__)

BACKOFF_S = (1.0, 30.0)
"""First and longest pause before a failed query is restarted, seconds."""
FINISH_WITHIN_S = 12.0
"""Longest wait for a running micro-batch when the lake stops, seconds."""
_POLL_S = 1


class LakeStopping(Exception):
    """The lake is stopping: the micro-batch is processed after the next start."""


class BatchGate:
    """Gate for the micro-batches of one query: closed once `stop` is set."""

    def __init__(self, stop: threading.Event) -> None:
        self._stop = stop
        self._idle = threading.Event()
        self._idle.set()

    @contextmanager
    def batch(self) -> Iterator[None]:
        """Wrap the writing of one micro-batch.

        Raises:
            LakeStopping: the lake is stopping. Spark repeats the same batch after the next start.
        """
        self._idle.clear()
        try:
            if self._stop.is_set():
                raise LakeStopping
            yield
        finally:
            self._idle.set()

    def wait_idle(self, timeout_s: float) -> bool:
        """Wait for the running micro-batch; return False on timeout."""
        return self._idle.wait(timeout_s)


@dataclass(frozen=True, slots=True)
class ManagedQuery:
    """One streaming query.

    Attributes:
        name: its name and that of its checkpoint.
        flows: the flows it processes.
        start: starts it from its checkpoint.
        gate: the gate of its micro-batches.
        lags: returns the lag of each of its flows.
        obstacle: returns why it cannot run now, or None.
    """

    name: str
    flows: tuple[str, ...]
    start: Callable[[], StreamingQuery]
    gate: BatchGate
    lags: Callable[[StreamingQuery], Mapping[str, int | None]]
    obstacle: Callable[[], str | None] = lambda: None


class QuerySupervisor:
    """Supervisor of one query: records failures and restarts the query with back-off until stopped."""

    def __init__(self, query: ManagedQuery, board: StatusBoard, stop: threading.Event) -> None:
        self._query, self._board, self._stop = query, board, stop
        self._obstacle: str | None = None

    def run(self) -> None:
        """Run until stopped."""
        backoff = BACKOFF_S[0]
        while not self._stop.is_set():
            if self._check_obstacle():
                self._stop.wait(_POLL_S)
                continue
            started = time.monotonic()
            try:
                self._watch(self._query.start())
            except Exception as error:  # noqa: BLE001 - the outermost edge of a query: record it and restart
                if self._stop.is_set():
                    return
                if time.monotonic() - started > 2 * BACKOFF_S[1]:
                    backoff = BACKOFF_S[0]
                self._record(error, backoff)
                self._stop.wait(backoff)
                backoff = min(2 * backoff, BACKOFF_S[1])

    def _record(self, error: Exception, backoff: float) -> None:
        log.debug("%s failed", self._query.name, exc_info=error)
        if self._check_obstacle():
            return  # the obstacle is recorded already
        reason = cause(error)
        log.error("%s failed, restarting in %.0f s: %s", self._query.name, backoff, reason)
        for flow in self._query.flows:
            self._board.record_failure(flow, reason)

    def _check_obstacle(self) -> str | None:
        """Return why the query cannot run now; log and record it when it appears and when it is gone."""
        obstacle = self._query.obstacle()
        if obstacle and not self._obstacle:
            log.warning("%s: waiting: %s", self._query.name, obstacle)
            for flow in self._query.flows:
                self._board.record_failure(flow, obstacle)
        if self._obstacle and not obstacle:
            log.info("%s: continuing, resolved: %s", self._query.name, self._obstacle)
            for flow in self._query.flows:
                self._board.clear_failure(flow)
        self._obstacle = obstacle
        return obstacle

    def _watch(self, running: StreamingQuery) -> None:
        """Monitor a query until it fails or the lake stops."""
        log.info("%s is running", self._query.name)
        while not self._stop.is_set():
            if running.awaitTermination(_POLL_S):
                return
            self._check_obstacle()
            for flow, lag in self._query.lags(running).items():
                self._board.set_lag(flow, lag)
        if not self._query.gate.wait_idle(FINISH_WITHIN_S):
            log.warning(
                "%s: a micro-batch was interrupted; it is repeated after the next start", self._query.name
            )
        running.stop()


def cause(error: Exception) -> str:
    """Return the line of a query's error that names the innermost exception."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    named = [line for line in lines if re.match(r"(Caused by: )?[\w.$]+(Exception|Error)\b", line)]
    reason = (named or lines or [type(error).__name__])[-1][:500]
    if "failOnDataLoss" in str(error) or "KAFKA_DATA_LOSS" in str(error):
        reason += " (Kafka deleted messages that were not read yet: KAFKA_FAIL_ON_DATA_LOSS=false skips them)"
    return reason
