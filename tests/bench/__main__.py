"""`make bench` runs all benchmarks, `AREA=<area>` one; each writes evidence/bench/<area>.json."""

from __future__ import annotations

import sys

from rich.console import Console
from rich.table import Table

from tests import areas

GOALS: dict[str, dict[str, str]] = {
    "link": {
        "notify_to_rule_p99_ms": "≤ 50",
        "readvertise_to_live_p95_s": "≤ 3",
        "gateway_rss_mb": "≤ 100",
        "lost_readings": "0",
    },
    "gateway": {
        "outbox_ratio_to_sqlite": "≥ 0.5",
        "mqtt_sustained_readings_per_s": "≥ 5000",
        "drain_readings_per_s": "≥ 2000",
        "live_p95_s_during_drain": "≤ 2",
        "reading_to_page_p95_s": "≤ 1",
        "reading_to_notifier_p95_s": "≤ 2",
        "gateway_rss_mb": "≤ 100",
        "lost_readings": "0",
    },
    "ingest": {
        "cpu_ratio_to_bare": "≤ 4",
        "single_p99_minus_broker_p99_ms": "≤ 15",
        "outage_answer_p99_s": "≤ 1",
        "rss_growth_mb": "≤ 5",
        "lost_readings": "0",
    },
    "dashboards": {"query_p95_ms": "≤ 100"},
}
"""Goals of figures, by area; an area is a module of this package with a `run()`."""


def show(area: str, figures: areas.Figures) -> None:
    """Print an area's figures with their goals."""
    table = Table(title=area, title_justify="left")
    table.add_column("figure")
    table.add_column("measured", justify="right")
    table.add_column("goal")
    for name, value in figures.items():
        table.add_row(name, str(value), GOALS[area].get(name, ""))
    Console().print(table)


if __name__ == "__main__":
    sys.exit(areas.run("bench", tuple(GOALS), sys.argv[1:], show))
