"""Standing by: one alarms process works, another waits until that one gives no sign of life any more.

Who was taken over does not end: a supervisor would start it again, it would take over in its turn, and
neither would ever listen for long enough to miss a gateway.
"""

from __future__ import annotations

import asyncio
import logging
import threading

from cloud_ingest.alarms.repository import AlarmBook
from cloud_ingest.errors import DatabaseUnavailable

log = logging.getLogger(__name__)

LOOK_EVERY_S = 1.0
_GONE_AFTER = 15
"""Looks in a row that find nothing new; the owner leaves a sign of life every five seconds."""


class Owner:
    """The process that has the book, as another one sees it."""

    def __init__(self, book: AlarmBook) -> None:
        self._book = book
        self._seen: object = None
        self._unchanged = 0

    def is_gone(self) -> bool:
        """Look once; whether it has been silent for long enough while the database answered.

        Looks are counted, not seconds: after an outage of the database its owner has time to write again.
        """
        try:
            seen: object = self._book.sign_of_life()
        except DatabaseUnavailable as error:  # nobody knows
            log.debug("standing by: %s", error)
            seen = error
        self._unchanged = self._unchanged + 1 if seen == self._seen else 0
        self._seen = seen
        return self._unchanged >= _GONE_AFTER


async def stand_by(book: AlarmBook, stop: threading.Event) -> None:
    """Wait until the owner of the book is gone, or until told to stop."""
    ended = threading.Event()

    def watch() -> None:
        try:
            owner = Owner(book)
            while not owner.is_gone():
                if stop.wait(LOOK_EVERY_S):
                    return
            log.warning("the process that had taken over is gone: this one goes on")
        finally:
            ended.set()
            book.close()

    # nobody waits for this thread: a database that is frozen holds up no end
    threading.Thread(target=watch, name="standing by", daemon=True).start()
    while not stop.is_set() and not await asyncio.to_thread(ended.wait, 0.2):
        pass
