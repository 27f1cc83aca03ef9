"""A vital that is only registered reaches the page, every store and the dashboards."""

from __future__ import annotations

import json
import os
import subprocess
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import paho.mqtt.publish as mqtt
from deltalake import DeltaTable, QueryBuilder

from deploy.local.ports import LOOPBACK
from deploy.local.stack import Stack, program
from tests.e2e.conftest import SystemUnderTest
from tests.waiting import PATIENCE_S, wait_for

PATIENT, DEVICE = "patient-glucose", "glucose-meter"


def test_fifth_vital_travels_from_mqtt_to_every_store(system: SystemUnderTest) -> None:
    stack = system.whole()
    from_mqtt = "SELECT 1 FROM measurements WHERE source = 'mqtt' LIMIT 1"
    assert wait_for(lambda: _rows(stack, from_mqtt)), "the gateway is not subscribed"
    message_id = str(uuid4())
    _publish(stack, message_id, {"spo2_pct": 97.0, "glucose_mmol": 5.6})
    assert "Glucose" in wait_for(lambda: _page_with(stack, PATIENT))
    statement = "SELECT spo2_pct, glucose_mmol, quality_score FROM measurements WHERE message_id = %s"
    assert wait_for(lambda: _rows(stack, statement, message_id)) == [(97.0, 5.6, 25.0)]
    assert wait_for(lambda: _lake(stack, "raw/iot_measurements", "glucose_mmol")) == [5.6]
    assert wait_for(lambda: _lake(stack, "bronze/iot_aggregations", "glucose_mmol_mean")) == [5.6]
    assert wait_for(lambda: _lake(stack, "gold/patient_daily", "glucose_mmol_baseline")) == [5.6]


def test_fifth_vital_is_shown_by_queries_that_run(system: SystemUnderTest) -> None:
    stack = system.whole()
    checked = subprocess.run(
        [program("kidjamo-dashboards"), "check"],
        env=os.environ | stack.dsn.env(),
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_S,
    )
    lines = [line.split() for line in checked.stdout.splitlines() if "(mmol/L)" in line]
    assert [(line[0], line[-2] != "error", line[-1] != "error") for line in lines] == [
        ("kidjamo-ward-en", True, True),
        ("kidjamo-ward-fr", True, True),
    ]


def _publish(stack: Stack, message_id: str, measurements: dict[str, float]) -> None:
    document = {
        "patient_id": PATIENT,
        "message_id": message_id,
        "timestamp": datetime.now(UTC).isoformat(),
        "measurements": measurements,
    }
    topic = f"kidjamo/bracelets/{DEVICE}/measurements"
    mqtt.single(topic, json.dumps(document), qos=1, hostname=LOOPBACK, port=stack.mqtt.port)


def _page_with(stack: Stack, text: str) -> str:
    try:
        page = httpx.get(
            f"http://{LOOPBACK}:{stack.page_port}/", params={"lang": "en"}, timeout=PATIENCE_S
        ).text
    except httpx.HTTPError:
        return ""
    return page if text in page else ""


def _rows(stack: Stack, statement: str, *values: object) -> list[tuple[Any, ...]]:
    with closing(stack.dsn.connect()) as connection, connection.cursor() as cursor:
        cursor.execute(statement, values)
        return cursor.fetchall()


def _lake(stack: Stack, table: str, column: str) -> list[float]:
    """The values of a column in a Delta table, as delta-rs reads them; empty while there are none."""
    path: Path = stack.lake / table
    if not DeltaTable.is_deltatable(str(path)):
        return []
    statement = f"SELECT {column} FROM t WHERE {column} IS NOT NULL"
    result = QueryBuilder().register("t", DeltaTable(path)).execute(statement).read_all()
    return [float(value) for value in result[column].to_pylist()]
