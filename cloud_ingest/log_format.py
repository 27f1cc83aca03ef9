"""The format of log lines; a traceback shows frames and exception types, without exception messages."""

from __future__ import annotations

import logging
import traceback
from types import TracebackType

FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
_ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]


class LogFormat(logging.Formatter):
    """A formatter that omits exception messages: they may quote a reading, and with it a patient."""

    def __init__(self) -> None:
        super().__init__(FORMAT)

    def formatException(self, ei: _ExcInfo) -> str:  # noqa: N802 - logging's name
        """Return the frames and type of the exception, preceded by those of its causes."""
        lines: list[str] = []
        error = ei[1]
        while error is not None:
            frames = "".join(traceback.format_tb(error.__traceback__))
            lines.insert(0, f"{frames}{type(error).__name__}")
            error = error.__cause__ or error.__context__
        return "\n".join(lines)
