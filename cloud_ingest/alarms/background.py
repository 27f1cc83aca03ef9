"""Background tasks that the alarms process must not survive."""

from __future__ import annotations

import asyncio
import logging
from typing import TypeVar

from vitals.errors import KidjamoError

log = logging.getLogger(__name__)

T = TypeVar("T")


class RecordingFailed(KidjamoError):
    """Alarms cannot be recorded or notified because of an unexpected error; the process has to end."""


def result_of(task: asyncio.Task[T]) -> T:
    """Return the result of a finished task.

    Raises:
        KidjamoError: whatever the task raised, where it is an error of this package.
        RecordingFailed: the task raised anything else.
    """
    error = task.exception()
    if error is None or isinstance(error, KidjamoError):
        return task.result()
    log.critical("%s failed, the alarms process ends", task.get_name(), exc_info=error)
    raise RecordingFailed(f"{task.get_name()} failed: {type(error).__name__}: {error}") from error
