"""The recorder's books as the API sees them: read from the database, its lag from Kafka."""

from __future__ import annotations

from contextlib import closing
from typing import Any

import psycopg2

from cloud_ingest.errors import KafkaUnavailable
from cloud_ingest.kafka.admin import admin_client, end_offsets
from cloud_ingest.postgres.connection import connect
from cloud_ingest.recorder.accounting import next_offsets, totals
from cloud_ingest.settings import Settings

TIMEOUT_S = 2.0


class RecorderView:
    """Asks the database, then Kafka; each for two seconds at most.

    Kafka is asked by a new client each time, which takes 10 ms: one that is kept believes for minutes in the
    partition leaders of before a broker's restart, and gets no answer.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def __call__(self) -> dict[str, Any]:
        """Totals, difference and lag (messages not read yet); or why they are unknown."""
        try:
            database = connect(self._settings, "kidjamo-ingest reconciliation")
            with closing(database), database, database.cursor() as cursor:
                cursor.execute(f"SET LOCAL statement_timeout = {int(TIMEOUT_S * 1000)}")
                books, following = totals(cursor), next_offsets(cursor)
        except psycopg2.errors.UndefinedTable:
            return {"status": "unknown", "reason": "no recorder has ever run"}
        except psycopg2.Error as error:
            return {"status": "unknown", "reason": f"database: {type(error).__name__}"}
        try:
            ends = end_offsets(admin_client(self._settings.kafka), following, TIMEOUT_S)
        except KafkaUnavailable as error:
            return {"status": "known", **books.document(), "lag": None, "reason": str(error)}
        lag = sum(_unread(ends[place], offset) for place, offset in following.items())
        return {"status": "known", **books.document(), "lag": lag}


def _unread(end: int, offset: int) -> int:
    """Messages of a log from `offset` on; all of one that ends before it, for it was made anew."""
    return end - offset if end >= offset else end
