"""Standby: one alarms process works, another waits until that one has stopped.

A process that lost its lease does not exit: a supervisor would restart it, it would take the lease back, and
no process would ever run long enough to miss a gateway.
"""

from __future__ import annotations

import asyncio
import logging
import threading

from cloud_ingest.alarms.repository import AlarmRepository
from cloud_ingest.errors import DatabaseUnavailable

log = logging.getLogger(__name__)

CHECK_EVERY_S = 1.0
_STOPPED_AFTER = 15
"""Checks in a row without a change; a working process writes every five seconds."""


class StandbyLease:
    """The lease of the working process, as a standby process sees it."""

    def __init__(self, repository: AlarmRepository) -> None:
        self._repository = repository
        self._seen: object = None
        self._unchanged = 0

    def is_abandoned(self) -> bool:
        """Check once; return whether the owner has written nothing while the database answered.

        Checks are counted, not seconds: after an outage of the database the owner has time to write again.
        """
        try:
            seen: object = self._repository.last_write()
        except DatabaseUnavailable as error:
            log.debug("standby: %s", error)
            seen = error
        self._unchanged = self._unchanged + 1 if seen == self._seen else 0
        self._seen = seen
        return self._unchanged >= _STOPPED_AFTER


async def wait_for_lease(repository: AlarmRepository, stop: threading.Event) -> None:
    """Wait until the owner of the lease has stopped, or until `stop` is set; close the repository."""
    ended = threading.Event()

    def check() -> None:
        try:
            lease = StandbyLease(repository)
            while not lease.is_abandoned():
                if stop.wait(CHECK_EVERY_S):
                    return
            log.warning("the other alarms process has stopped: this one resumes")
        finally:
            ended.set()
            repository.close()

    # a daemon thread: a database that hangs does not delay the exit
    threading.Thread(target=check, name="standby", daemon=True).start()
    while not stop.is_set() and not await asyncio.to_thread(ended.wait, 0.2):
        pass
