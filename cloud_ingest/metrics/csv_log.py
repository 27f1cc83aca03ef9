"""The ingestion metrics as CSV, one row a reading, written behind the requests' back."""

from __future__ import annotations

import contextlib
import csv
import io
import logging
import os
import threading
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple

log = logging.getLogger(__name__)

HEADER = ("timestamp", "latency_s", "alerts_count", "alert_types", "quality_score", "valid_flag", "device_id")
KEPT = 3
MAX_QUEUED = 50_000
FLUSH_S = 0.25
_FORMULA = frozenset("=+-@")
"""First characters by which a spreadsheet takes a cell for something to compute."""


class Row(NamedTuple):
    """One accepted reading.

    Attributes:
        timestamp: when it arrived, UTC, ISO 8601.
        latency_s: seconds from arrival until it was durable.
        alert_types: joined with `|`.
        quality_score: 0 to 100: the share of the four vitals that are present and plausible, times 0.8 when
            the bracelet reports motion, times 0.8 for low perfusion, times 0.5 for poor contact
            (`vitals.quality`).
        valid_flag: 1 when no value was invalid.
    """

    timestamp: str
    latency_s: str
    alerts_count: int
    alert_types: str
    quality_score: float
    valid_flag: int
    device_id: str


class MetricsCsv:
    """Appends rows on a thread of its own; a slow disk costs rows, never a request.

    Args:
        path: the file; full ones are kept beside it as `.1` (newest) to `.3`.
        max_bytes: size at which it is rotated.
    """

    def __init__(self, path: Path, max_bytes: int) -> None:
        self._path, self._max_bytes = path, max_bytes
        self._rows: deque[Row] = deque()
        self._stopping = threading.Event()
        self.dropped = 0
        self._thread = threading.Thread(target=self._work, name="metrics-csv", daemon=True)
        self._thread.start()

    def add(self, rows: Sequence[Row]) -> None:
        """Queue rows; never waits."""
        if len(self._rows) + len(rows) > MAX_QUEUED:
            self.dropped += len(rows)
        else:
            self._rows.extend(rows)

    def close(self) -> None:
        """Write what is queued and stop."""
        self._stopping.set()
        self._thread.join(5)

    def _work(self) -> None:
        failing = not self._write([])
        while not self._stopping.wait(FLUSH_S) or self._rows:
            if rows := [self._rows.popleft() for _ in range(len(self._rows))]:
                failing = not self._write(rows, logging.DEBUG if failing else logging.WARNING)

    def _write(self, rows: Sequence[Row], level: int = logging.WARNING) -> bool:
        try:
            self._append(rows)
        except (OSError, ValueError) as error:  # ValueError: text that UTF-8 has no bytes for
            self.dropped += len(rows)
            log.log(level, "metrics CSV: %s", error)
            return False
        return True

    def _append(self, rows: Sequence[Row]) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        if self._path.exists() and (self._path.stat().st_size >= self._max_bytes or not self._is_ours()):
            self._rotate()
        with self._path.open("a+b") as file:
            size = file.seek(0, os.SEEK_END)
            torn = size > 0 and not _ends_with_newline(file)
            texts = [row if row.device_id[:1] not in _FORMULA else _as_text(row) for row in rows]
            file.write(b"\n" * torn + _lines(texts if size else [HEADER, *texts]))

    def _is_ours(self) -> bool:
        with self._path.open(encoding="utf-8", errors="replace") as file:
            first = file.readline()
        return first.rstrip("\n") == ",".join(HEADER) or not first

    def _rotate(self) -> None:
        names = [self._path, *(self._path.with_name(f"{self._path.name}.{n}") for n in range(1, KEPT + 1))]
        for older, newer in zip(reversed(names), list(reversed(names))[1:], strict=False):
            with contextlib.suppress(FileNotFoundError):
                newer.replace(older)


def _as_text(row: Row) -> Row:
    """A row whose device, which its sender names, starts no formula."""
    return row._replace(device_id=f"'{row.device_id}")


def _ends_with_newline(file: BinaryIO) -> bool:
    """False where a crash cut the last line short, perhaps within a character; the next row needs its own."""
    file.seek(-1, os.SEEK_END)
    return file.read(1) == b"\n"


def _lines(rows: Sequence[Sequence[object]]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()
