"""How log lines look: an error nobody foresaw is told by its place and its kind, not by its words."""

from __future__ import annotations

import logging
import traceback
from types import TracebackType

FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
_Raised = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]


class LogFormat(logging.Formatter):
    """Leaves out of a traceback what the errors say: they may quote a reading, and with it a child."""

    def __init__(self) -> None:
        super().__init__(FORMAT)

    def formatException(self, ei: _Raised) -> str:  # noqa: N802 - logging's name
        """The frames and the kind of the error, the one that caused it first."""
        lines: list[str] = []
        error = ei[1]
        while error is not None:
            place = "".join(traceback.format_tb(error.__traceback__))
            lines.insert(0, f"{place}{type(error).__name__}")
            error = error.__cause__ or error.__context__
        return "\n".join(lines)
