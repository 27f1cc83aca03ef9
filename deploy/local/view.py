"""The terminal view of the demo: stages, children, open alarms, and addresses."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime

import psycopg2
from rich.console import Group
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from deploy.local.grafana import INSTALL_HINT
from deploy.local.postgres import Dsn
from deploy.local.stack import Stack
from deploy.local.stage_counts import StageCounts
from vitals.limits import VALUE_OLD_AFTER, VITALS, Vital

Draw = Callable[[str], None]
"""Draws the current state under a headline."""

OLD_AFTER_S = VALUE_OLD_AFTER.total_seconds()
_DISCLAIMER = (
    "Research and education software, not a medical device · Logiciel de recherche, pas un dispositif médical"
)
_LATEST = f"""
    SELECT DISTINCT ON (m.patient_id)
           coalesce(p.display_name, left(m.patient_id, 11)), m.device_id, m.timestamp,
           m.invalid_fields, {", ".join(f"m.{vital.field}" for vital in VITALS)}
    FROM measurements m LEFT JOIN identity.patients p ON p.pseudonym = m.patient_id
    WHERE m.timestamp > now() - interval '1 hour'
    ORDER BY m.patient_id, m.timestamp DESC
"""
_ALARMS = """
    SELECT coalesce(p.display_name, left(a.patient_id, 11)), a.type, count(*), max(a.timestamp),
           (array_agg(a.message ORDER BY a.timestamp DESC))[1]
    FROM alerts a LEFT JOIN identity.patients p ON p.pseudonym = a.patient_id
    WHERE a.severity = 'CRITICAL' AND a.timestamp > now() - interval '2 minutes'
    GROUP BY 1, 2 ORDER BY 4 DESC LIMIT 6
"""


@dataclass(frozen=True, slots=True)
class ChildRow:
    """Newest values of one child."""

    name: str
    device_id: str
    timestamp: datetime
    values: tuple[float | None, ...]
    invalid_fields: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class AlarmRow:
    """Critical alerts of one child and type within the last two minutes."""

    name: str
    kind: str
    count: int
    last: datetime
    message: str


def ward(dsn: Dsn) -> tuple[list[ChildRow], list[AlarmRow]]:
    """Return the children's newest values and open alarms; empty while the database is not ready."""
    try:
        with closing(dsn.connect()) as connection, connection.cursor() as cursor:
            cursor.execute(_LATEST)
            latest = [ChildRow(r[0], r[1], r[2], tuple(r[4:]), tuple(r[3] or ())) for r in cursor.fetchall()]
            children = sorted(latest, key=lambda child: child.device_id)
            cursor.execute(_ALARMS)
            return children, [AlarmRow(*row) for row in cursor.fetchall()]
    except psycopg2.Error:
        return [], []


def screen(stack: Stack, counts: StageCounts | None, headline: str) -> Group:
    """Return the full-screen view of the system."""
    children, alarms = ward(stack.dsn)
    return Group(
        Text(f" Kidjamo · {headline}", style="bold white on dark_green"),
        _stages(stack, counts),
        _children(children),
        _alarms(alarms),
        _addresses(stack),
        Text(_DISCLAIMER, style="dim italic"),
    )


def line(stack: Stack, counts: StageCounts | None) -> str:
    """Return the state in one line, for output that cannot be redrawn."""
    by_stage = (
        " ".join(f"{name}={count}" for name, count in counts.stages().items()) if counts else "counting"
    )
    down = [name for name, service in stack.services.items() if not service.running]
    return f"{by_stage}{' · down: ' + ', '.join(down) if down else ''}"


def _stages(stack: Stack, counts: StageCounts | None) -> Table:
    table = Table(expand=True, box=None, header_style="bold")
    holders = {
        "bracelet": "bracelets",
        "gateway": "gateway",
        "api": "api",
        "kafka": "kafka",
        "raw": "lake",
        "postgresql": "recorder",
        "silver_critical": "lake",
        "bronze_windows": "lake",
    }
    for stage in holders:
        table.add_column(stage, justify="center")
    running = [stack.services.get(service) for service in holders.values()]
    table.add_row(
        *(
            Text("● up", "green") if service and service.running else Text("● down", "bold red")
            for service in running
        )
    )
    by_stage = counts.stages() if counts else dict.fromkeys(holders, 0)
    table.add_row(*(Text(f"{by_stage[stage]:,}", "bold") for stage in holders))
    return table


def _children(children: list[ChildRow]) -> Panel:
    table = Table(expand=True, box=None, header_style="bold")
    for heading in (
        "child",
        "bracelet",
        *(f"{vital.name_en} ({vital.unit_shown})" for vital in VITALS),
        "age",
    ):
        table.add_column(heading)
    for child in children:
        age = (datetime.now(UTC) - child.timestamp).total_seconds()
        style = "dim" if age > OLD_AFTER_S else ""
        cells = [_value(vital, value, child) for vital, value in zip(VITALS, child.values, strict=True)]
        table.add_row(child.name, child.device_id, *cells, _age(age), style=style)
    return Panel(table if children else Text("no reading yet", "dim"), title="children", border_style="cyan")


def _value(vital: Vital, value: float | None, child: ChildRow) -> Text:
    if value is None:
        return Text("not measured", "dim")
    if vital.field in child.invalid_fields:
        return Text("sensor off" if value == 0 else "invalid", "yellow")
    return Text(f"{value:g}")


def _age(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds <= OLD_AFTER_S else f"OLD: {seconds:.0f} s"


def _alarms(alarms: list[AlarmRow]) -> Panel:
    table = Table(expand=True, box=None, show_header=False)
    for alarm in alarms:
        age = (datetime.now(UTC) - alarm.last).total_seconds()
        table.add_row(
            alarm.name, Text(alarm.kind, "bold red"), alarm.message, f"×{alarm.count}", f"{age:.0f} s ago"
        )
    body = table if alarms else Text("none in the last two minutes", "green")
    return Panel(body, title="critical alarms", border_style="red" if alarms else "green")


def _addresses(stack: Stack) -> Panel:
    table = Table(expand=True, box=None, show_header=False)
    example = """{"patient_id":"demo","measurements":{"spo2_pct":85},"timestamp":"'$(date -u +%FT%TZ)'"}"""
    table.add_row("API", f"{stack.api_url}/docs  ·  {stack.api_url}/health")
    table.add_row("carers' page", f"http://127.0.0.1:{stack.page_port}")
    table.add_row(
        "MQTT", f"mosquitto_pub -p {stack.mqtt.port} -t kidjamo/bracelets/demo-1/measurements -m '{example}'"
    )
    table.add_row("Kafka", stack.kafka.bootstrap)
    table.add_row(
        "PostgreSQL", f"127.0.0.1:{stack.postgres.port}/{stack.dsn.dbname}, password in {stack.root}/postgres"
    )
    table.add_row("lake", str(stack.lake))
    table.add_row("Grafana", stack.grafana.url if stack.grafana.installed else INSTALL_HINT)
    table.add_row("logs", str(stack.root / "logs"))
    return Panel(table, title="addresses (Ctrl-C stops everything)", border_style="blue")
