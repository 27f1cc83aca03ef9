"""The six flows of the lake and the status of each: rows, freshness, lag, last error."""

from __future__ import annotations

import json
import os
import threading
from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, datetime
from pathlib import Path

MEASUREMENTS = "measurements"
ERRORS = "errors"
ALERTS = "alerts"
DEVICE_STATUS = "device_status"
CRITICAL_ALERTS = "critical_alerts"
AGGREGATIONS = "aggregations"
FLOWS = (MEASUREMENTS, ERRORS, ALERTS, DEVICE_STATUS, CRITICAL_ALERTS, AGGREGATIONS)

PATIENT_DAILY = "patient_daily"
"""The periodic job that computes whole days; not a flow, but has a status like one."""


@dataclass(frozen=True, slots=True)
class FlowStatus:
    """Status of one flow.

    Attributes:
        flow: name of the flow.
        rows: rows committed since the lake was created; for aggregations, readings added to windows.
        newest_event: time of the newest reading or alert committed.
        committed_at: time of the last commit.
        freshness_s: age of the newest event at that commit, in seconds.
        lag: messages on Kafka, for aggregations rows in raw, that are not processed yet; None if unknown.
        last_error: the last failure; empty if there was a success since.
        last_error_at: time of that failure.
        batch: micro-batch of the last commit, so that a replayed one is not counted twice.
    """

    flow: str
    rows: int = 0
    newest_event: str | None = None
    committed_at: str | None = None
    freshness_s: float | None = None
    lag: int | None = None
    last_error: str = ""
    last_error_at: str | None = None
    batch: str = ""


_FIELDS = {field.name for field in fields(FlowStatus)}


class StatusBoard:
    """One small file per flow, replaced atomically, so that other processes can read it at any time."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._lock = threading.Lock()

    def read(self, flow: str) -> FlowStatus:
        """Return the status of one flow; an empty one if it has not written any."""
        try:
            document = json.loads((self._directory / f"{flow}.json").read_text())
            return FlowStatus(**{name: value for name, value in document.items() if name in _FIELDS})
        except (FileNotFoundError, ValueError, TypeError, AttributeError):
            return FlowStatus(flow)

    def all(self) -> list[FlowStatus]:
        """Return the status of every flow, in data order."""
        return [self.read(flow) for flow in FLOWS]

    def record_commit(self, flow: str, batch: str, rows: int, newest_event: datetime | None) -> None:
        """Record a commit; it also clears the last error."""
        now = datetime.now(UTC)
        freshness = round((now - newest_event).total_seconds(), 1) if newest_event else None
        event = newest_event.isoformat() if newest_event else None
        with self._lock:
            old = self.read(flow)
            self._write(
                replace(
                    old,
                    rows=old.rows + (rows if batch != old.batch else 0),
                    newest_event=event or old.newest_event,
                    committed_at=now.isoformat(),
                    freshness_s=freshness if freshness is not None else old.freshness_s,
                    last_error="",
                    batch=batch,
                )
            )

    def set_rows(self, flow: str, rows: int) -> None:
        """Set the row count of a flow."""
        with self._lock:
            if (old := self.read(flow)).rows != rows:
                self._write(replace(old, rows=rows))

    def set_lag(self, flow: str, lag: int | None) -> None:
        """Set the lag of a flow."""
        with self._lock:
            if (old := self.read(flow)).lag != lag:
                self._write(replace(old, lag=lag))

    def record_failure(self, flow: str, error: str) -> None:
        """Record a failure."""
        with self._lock:
            now = datetime.now(UTC).isoformat()
            self._write(replace(self.read(flow), last_error=error, last_error_at=now))

    def clear_failure(self, flow: str) -> None:
        """Clear the last error of a flow."""
        with self._lock:
            if (old := self.read(flow)).last_error:
                self._write(replace(old, last_error=""))

    def _write(self, status: FlowStatus) -> None:
        self._directory.mkdir(parents=True, exist_ok=True)
        path = self._directory / f"{status.flow}.json"
        scratch = path.with_suffix(f".{os.getpid()}.tmp")
        scratch.write_text(json.dumps(asdict(status)))
        scratch.replace(path)
