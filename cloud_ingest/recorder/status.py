"""The recorder's accounting as the API shows it: totals from PostgreSQL, lag from Kafka."""

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
    """Reads PostgreSQL, then Kafka; each takes two seconds at most.

    Each call uses a new Kafka client, which takes 10 ms: an older one keeps the partition leaders from before
    a broker restart for minutes and gets no answer.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def __call__(self) -> dict[str, Any]:
        """Return totals, difference and lag (messages not read yet), or why they are unknown."""
        try:
            database = connect(self._settings, "kidjamo-ingest reconciliation")
            with closing(database), database, database.cursor() as cursor:
                cursor.execute(f"SET LOCAL statement_timeout = {int(TIMEOUT_S * 1000)}")
                recorded, following = totals(cursor), next_offsets(cursor)
        except psycopg2.errors.UndefinedTable:
            return {"status": "unknown", "reason": "no recorder has run yet"}
        except psycopg2.Error as error:
            return {"status": "unknown", "reason": f"database: {type(error).__name__}"}
        try:
            ends = end_offsets(admin_client(self._settings.kafka), following, TIMEOUT_S)
        except KafkaUnavailable as error:
            return {"status": "known", **recorded.document(), "lag": None, "reason": str(error)}
        lag = sum(_unread(ends[partition], offset) for partition, offset in following.items())
        return {"status": "known", **recorded.document(), "lag": lag}


def _unread(end: int, offset: int) -> int:
    """Return the messages from `offset` on; all of a partition that ends before it and was created anew."""
    return end - offset if end >= offset else end
