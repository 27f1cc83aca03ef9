"""The ingestion metrics as CSV, one row per reading, written on a background thread."""

from __future__ import annotations

import contextlib
import csv
import io
import logging
import os
import threading
from collections import deque
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO, NamedTuple

log = logging.getLogger(__name__)

HEADER = ("timestamp", "latency_s", "alerts_count", "alert_types", "quality_score", "valid_flag", "device_id")
ROTATED_FILES = 3
MAX_QUEUED = 50_000
FLUSH_S = 0.25
_FORMULA = frozenset("=+-@")
"""First characters that make a spreadsheet evaluate a cell as a formula."""


class Row(NamedTuple):
    """One accepted reading.

    Attributes:
        timestamp: time of arrival, UTC, ISO 8601.
        latency_s: seconds from arrival until it is durable.
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
    """A writer on its own thread. Where the disk is slow, rows are dropped and requests are not delayed.

    Args:
        path: the file; full ones are renamed to `.1` (newest) to `.3`.
        max_bytes: size at which it is rotated.

    Attributes:
        dropped: rows not written.
    """

    def __init__(self, path: Path, max_bytes: int) -> None:
        self._path, self._max_bytes = path, max_bytes
        self._rows: deque[Row] = deque()
        self._stopping = threading.Event()
        self.dropped = 0
        self._thread = threading.Thread(target=self._work, name="metrics-csv", daemon=True)
        self._thread.start()

    def add(self, rows: Sequence[Row]) -> None:
        """Queue rows and return at once."""
        if len(self._rows) + len(rows) > MAX_QUEUED:
            self.dropped += len(rows)
        else:
            self._rows.extend(rows)

    def close(self) -> None:
        """Write the queued rows and stop the thread."""
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
        except (OSError, ValueError) as error:  # ValueError: text that cannot be encoded in UTF-8
            self.dropped += len(rows)
            log.log(level, "metrics CSV: %s", error)
            return False
        return True

    def _append(self, rows: Sequence[Row]) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        if self._path.exists() and (self._path.stat().st_size >= self._max_bytes or not self._has_header()):
            self._rotate()
        with self._path.open("a+b") as file:
            size = file.seek(0, os.SEEK_END)
            incomplete = size > 0 and not _ends_with_newline(file)
            safe = [row if row.device_id[:1] not in _FORMULA else _as_text(row) for row in rows]
            file.write(b"\n" * incomplete + _lines(safe if size else [HEADER, *safe]))

    def _has_header(self) -> bool:
        with self._path.open(encoding="utf-8", errors="replace") as file:
            first = file.readline()
        return first.rstrip("\n") == ",".join(HEADER) or not first

    def _rotate(self) -> None:
        numbered = (self._path.with_name(f"{self._path.name}.{n}") for n in range(1, ROTATED_FILES + 1))
        oldest_first = [self._path, *numbered][::-1]
        for older, newer in pairwise(oldest_first):
            with contextlib.suppress(FileNotFoundError):
                newer.replace(older)


def _as_text(row: Row) -> Row:
    """Return a row whose device identifier, chosen by the sender, is not read as a formula."""
    return row._replace(device_id=f"'{row.device_id}")


def _ends_with_newline(file: BinaryIO) -> bool:
    """Return False where a crash truncated the last line, perhaps within a character."""
    file.seek(-1, os.SEEK_END)
    return file.read(1) == b"\n"


def _lines(rows: Sequence[Sequence[object]]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()
