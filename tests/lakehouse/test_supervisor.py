"""Supervision of a query, without Spark: obstacles and failures in the status of its flows."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import cast

import pytest
from pyspark.sql.streaming.query import StreamingQuery

from lakehouse import supervisor
from lakehouse.flows import ALERTS, MEASUREMENTS, StatusBoard
from lakehouse.supervisor import BatchGate, LakeStopping, ManagedQuery, QuerySupervisor
from tests.waiting import PATIENCE_S, wait_for


class EndlessQuery:
    """A streaming query that runs until it is stopped."""

    def __init__(self) -> None:
        self.stopped = threading.Event()

    def awaitTermination(self, timeout: float) -> bool:  # noqa: N802 - Spark's name
        return self.stopped.wait(timeout)

    def stop(self) -> None:
        self.stopped.set()


class SupervisedLake:
    """A status board and the supervisor of one query with two flows."""

    def __init__(self, directory: Path) -> None:
        self.board, self.stop = StatusBoard(directory), threading.Event()
        self.obstacle: str | None = None
        self.error: Exception | None = None
        self.query = EndlessQuery()
        managed = ManagedQuery(
            "ingest",
            (MEASUREMENTS, ALERTS),
            self._start,
            BatchGate(self.stop),
            lambda _query: {MEASUREMENTS: 7, ALERTS: None},
            lambda: self.obstacle,
        )
        self.thread = threading.Thread(target=QuerySupervisor(managed, self.board, self.stop).run)

    def _start(self) -> StreamingQuery:
        if self.error:
            raise self.error
        return cast(StreamingQuery, self.query)

    def errors(self) -> list[str]:
        """Return the last error of each flow of the query."""
        return [self.board.read(flow).last_error for flow in (MEASUREMENTS, ALERTS)]


@pytest.fixture
def lake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SupervisedLake:
    monkeypatch.setattr(supervisor, "_POLL_S", 0.01)
    monkeypatch.setattr(supervisor, "BACKOFF_S", (0.01, 0.02))
    return SupervisedLake(tmp_path)


@contextmanager
def running(lake: SupervisedLake) -> Iterator[None]:
    lake.thread.start()
    try:
        yield
    finally:
        lake.stop.set()
        lake.thread.join(PATIENCE_S)
        assert not lake.thread.is_alive()


def test_obstacle_is_recorded_and_cleared_when_it_is_gone(lake: SupervisedLake) -> None:
    lake.obstacle = "Kafka does not respond"
    with running(lake):
        wait_for(lambda: lake.errors() == ["Kafka does not respond"] * 2)
        lake.obstacle = None
        wait_for(lambda: lake.errors() == ["", ""])
        wait_for(lambda: lake.board.read(MEASUREMENTS).lag == 7)
    assert lake.query.stopped.is_set()


def test_obstacle_of_a_running_query_is_recorded(lake: SupervisedLake) -> None:
    with running(lake):
        wait_for(lambda: lake.board.read(MEASUREMENTS).lag == 7)
        lake.obstacle = "Kafka does not respond"
        wait_for(lambda: lake.errors() == ["Kafka does not respond"] * 2)


def test_failure_is_recorded_with_its_cause_and_retried(lake: SupervisedLake) -> None:
    lake.error = ValueError("failed\nCaused by: java.io.IOException: disk full\n\tat Frame.java")
    with running(lake):
        wait_for(lambda: lake.errors() == ["Caused by: java.io.IOException: disk full"] * 2)
        lake.error = None
        wait_for(lambda: lake.board.read(MEASUREMENTS).lag == 7)


def test_failure_does_not_replace_the_obstacle_that_caused_it(lake: SupervisedLake) -> None:
    def fail(_query: StreamingQuery) -> dict[str, int | None]:
        lake.obstacle = "Kafka does not respond"
        raise ValueError("timeout")

    managed = ManagedQuery(
        "ingest", (MEASUREMENTS,), lake._start, BatchGate(lake.stop), fail, lambda: lake.obstacle
    )
    lake.thread = threading.Thread(target=QuerySupervisor(managed, lake.board, lake.stop).run)
    with running(lake):
        wait_for(lambda: lake.board.read(MEASUREMENTS).last_error == "Kafka does not respond")
        time.sleep(0.1)
        assert lake.board.read(MEASUREMENTS).last_error == "Kafka does not respond"


def test_gate_refuses_batches_once_the_lake_stops() -> None:
    stop = threading.Event()
    gate = BatchGate(stop)
    with gate.batch():
        assert not gate.wait_idle(0.01)
        stop.set()
    assert gate.wait_idle(0.01)
    with pytest.raises(LakeStopping), gate.batch():
        pass
    assert gate.wait_idle(0.01)
