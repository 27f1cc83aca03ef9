"""Every query of the ward dashboards on PostgreSQL, with a day of 20 children and a reading every 5 s."""

from __future__ import annotations

import json
import statistics
import tempfile
from datetime import timedelta
from pathlib import Path

from psycopg2.extensions import connection

from cloud_ingest.postgres.migrations import migrate
from cloud_ingest.settings import Settings
from dashboards import probe, render
from dashboards.sql import View
from deploy.local.postgres import PostgresServer

CHILDREN = 20
HOURS = 24
PERIOD_S = 5
REPEATS = 5
SHOWN = timedelta(hours=1)

_FILL = f"""
INSERT INTO measurements (message_id, patient_id, device_id, timestamp, ingestion_timestamp, recorded_at,
                          spo2_pct, freq_card, freq_resp, temp_corp)
SELECT gen_random_uuid(), 'p' || child, 'd' || child, t, t, t,
       94 + 4 * random(), 80 + 40 * random(), 16 + 8 * random(), 36.5 + random()
FROM generate_series(1, {CHILDREN}) child,
     generate_series(now() - interval '{HOURS} hours', now(), interval '{PERIOD_S} seconds') t;
INSERT INTO alerts (alert_id, message_id, patient_id, device_id, timestamp, ingestion_timestamp, recorded_at,
                    type, severity, value, threshold, message, message_fr)
SELECT gen_random_uuid(), message_id, patient_id, device_id, timestamp, timestamp, timestamp,
       'CRITICAL_SPO2', 'CRITICAL', 85, 88, 'SpO2 85 %, below 88 %', 'SpO2 85 %, sous 88 %'
FROM measurements WHERE random() < 0.01;
ANALYZE;
"""


def run() -> dict[str, float]:
    """Run the benchmark.

    Returns:
        Milliseconds over all queries of all dashboards, each run several times after a warm-up.
    """
    with tempfile.TemporaryDirectory(prefix="kidjamo-bench-") as scratch:
        server = PostgresServer(Path(scratch) / "postgres")
        server.start()
        try:
            dsn = server.database("bench")
            migrate(Settings.from_environment(dsn.env()))
            with dsn.connect() as database, database.cursor() as cursor:
                cursor.execute(_FILL)
                cursor.execute("SELECT count(*) FROM measurements")
                (rows,) = cursor.fetchone() or (0,)
                milliseconds = _times(database)
        finally:
            server.stop()
    return {
        "query_p95_ms": round(statistics.quantiles(milliseconds, n=20)[-1], 1),
        "slowest_query_ms": round(max(milliseconds), 1),
        "queries": len(milliseconds),
        "rows": rows,
    }


def _times(database: connection) -> list[float]:
    times = []
    for document in render.rendered().values():
        board = json.loads(document)
        for query in probe.queries(board):
            for repeat in range(REPEATS + 1):
                result = probe.run(database, query, View.last(SHOWN, probe.everything(board)))
                if result.error:
                    raise RuntimeError(f"{query.dashboard}, {query.panel}: {result.error}")
                if repeat:
                    times.append(result.milliseconds)
    return times
