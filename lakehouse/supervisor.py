"""Keeps streaming queries running: starts, watches and restarts them, stops them between batches."""

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
"""First and longest pause before a query that failed is started again, seconds."""
FINISH_WITHIN_S = 12.0
"""How long a running micro-batch may take to finish when the lake has to stop."""
_LOOK_EVERY_S = 1


class LakeStopping(Exception):
    """The lake is being stopped: this micro-batch is left for the next start."""


class BatchGate:
    """Lets one query write its micro-batches, until it is shut; then says when the last one is through."""

    def __init__(self, stop: threading.Event) -> None:
        self._stop = stop
        self._idle = threading.Event()
        self._idle.set()

    @contextmanager
    def batch(self) -> Iterator[None]:
        """Around the writing of one micro-batch.

        Raises:
            Stopping: shut. Spark will give the same batch again at the next start.
        """
        self._idle.clear()
        try:
            if self._stop.is_set():
                raise LakeStopping
            yield
        finally:
            self._idle.set()

    def wait_idle(self, timeout_s: float) -> bool:
        """Wait for the batch in hand."""
        return self._idle.wait(timeout_s)


@dataclass(frozen=True, slots=True)
class ManagedQuery:
    """One streaming query.

    Attributes:
        name: also names its checkpoint.
        flows: the flows it carries.
        start: starts it from its checkpoint.
        gate: what its batches pass through.
        lags: what waits for each of its flows.
        why_not: why it cannot work now; empty where it can.
    """

    name: str
    flows: tuple[str, ...]
    start: Callable[[], StreamingQuery]
    gate: BatchGate
    lags: Callable[[StreamingQuery], Mapping[str, int | None]]
    why_not: Callable[[], str] = lambda: ""


class QuerySupervisor:
    """Runs one query until told to stop; a failure is noted, and the query starts again after a pause."""

    def __init__(self, query: ManagedQuery, board: StatusBoard, stop: threading.Event) -> None:
        self._query, self._board, self._stop = query, board, stop
        self._obstacle = ""

    def run(self) -> None:
        """Run until told to stop."""
        backoff = BACKOFF_S[0]
        while not self._stop.is_set():
            if self._look():
                self._stop.wait(_LOOK_EVERY_S)
                continue
            started = time.monotonic()
            try:
                self._watch(self._query.start())
            except Exception as error:  # noqa: BLE001 - the outermost edge of a query: note it and start again
                if self._stop.is_set():
                    return
                if time.monotonic() - started > 2 * BACKOFF_S[1]:
                    backoff = BACKOFF_S[0]
                self._note(error, backoff)
                self._stop.wait(backoff)
                backoff = min(2 * backoff, BACKOFF_S[1])

    def _note(self, error: Exception, backoff: float) -> None:
        log.debug("%s failed", self._query.name, exc_info=error)
        if self._look():
            return  # what stands in the way is said already
        reason = cause(error)
        log.error("%s failed, starting again in %.0f s: %s", self._query.name, backoff, reason)
        for flow in self._query.flows:
            self._board.record_failure(flow, reason)

    def _look(self) -> str:
        """What stands in the way, said once when it comes and once when it goes."""
        obstacle = self._query.why_not()
        if obstacle and not self._obstacle:
            log.warning("%s: waiting, %s", self._query.name, obstacle)
            for flow in self._query.flows:
                self._board.record_failure(flow, obstacle)
        if self._obstacle and not obstacle:
            log.info("%s: going on, over is: %s", self._query.name, self._obstacle)
            for flow in self._query.flows:
                self._board.clear_failure(flow, self._obstacle)
        self._obstacle = obstacle
        return obstacle

    def _watch(self, running: StreamingQuery) -> None:
        """Follow a query until it fails or has to stop."""
        log.info("%s is running", self._query.name)
        while not self._stop.is_set():
            if running.awaitTermination(_LOOK_EVERY_S):
                return
            self._look()
            for flow, lag in self._query.lags(running).items():
                self._board.set_lag(flow, lag)
        if not self._query.gate.wait_idle(FINISH_WITHIN_S):
            log.warning("%s: a micro-batch was cut short; the next start repeats it", self._query.name)
        running.stop()


def cause(error: Exception) -> str:
    """The line of a query's failure that names what went wrong: the innermost exception."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    named = [line for line in lines if re.match(r"(Caused by: )?[\w.$]+(Exception|Error)\b", line)]
    reason = (named or lines or [type(error).__name__])[-1][:500]
    if "failOnDataLoss" in str(error) or "KAFKA_DATA_LOSS" in str(error):
        reason += " (Kafka no longer holds what was not read yet: KAFKA_FAIL_ON_DATA_LOSS=false skips it)"
    return reason
