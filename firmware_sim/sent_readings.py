"""A log of every simulated reading, written when it is measured; a run is checked for losses against it."""

from __future__ import annotations

import json
import time
from pathlib import Path
from types import TracebackType
from typing import Self, TextIO

from vitals.reading import Reading

_FIELDS = ("message_id", "device_id", "patient_id", "timestamp", "measurements")


class SentReadingsLog:
    """JSON Lines file, one object per reading, flushed after each line.

    `noted_at` is the real time of the entry in seconds since 1970, whatever the simulated time is.

    Args:
        path: file to append to; None writes nothing.
    """

    def __init__(self, path: Path | None) -> None:
        self.count = 0
        self._file: TextIO | None = None
        if path:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("a", encoding="utf-8")

    def append(self, reading: Reading) -> None:
        """Append one reading."""
        self.count += 1
        if self._file is None:
            return
        wire = reading.to_wire()
        line = {key: wire[key] for key in _FIELDS} | {"noted_at": time.time()}
        self._file.write(json.dumps(line) + "\n")
        self._file.flush()

    def __enter__(self) -> Self:
        """Return the log."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the file."""
        if self._file:
            self._file.close()
