"""From bracelet to every table: no reading is lost, even if the API is killed."""

from __future__ import annotations

import json
import subprocess
import time
from contextlib import closing
from datetime import UTC, datetime
from uuid import uuid4

from deltalake import DeltaTable

from tests.e2e.conftest import SystemUnderTest
from tests.e2e.test_integration import rows
from tests.waiting import PATIENCE_S, wait_for


def test_mosquitto_pub_reaches_raw_and_postgresql(system: SystemUnderTest) -> None:
    stack = system.whole()
    identity = str(uuid4())
    document = {
        "patient_id": "patient-001-ss",
        "timestamp": datetime.now(UTC).isoformat(),
        "message_id": identity,
        "measurements": {"freq_card": 120, "freq_resp": 18, "spo2_pct": 85.0, "temp_corp": 38.5},
    }
    topic = "kidjamo/bracelets/demo-1/measurements"
    command = [
        "mosquitto_pub",
        "-p",
        str(stack.mqtt.port),
        "-q",
        "1",
        "-t",
        topic,
        "-m",
        json.dumps(document),
    ]
    subprocess.run(command, check=True, timeout=PATIENCE_S)
    statement = "SELECT device_id, spo2_pct FROM measurements WHERE message_id = %s"
    assert wait_for(lambda: rows(system, statement, identity)) == [("demo-1", 85.0)]
    wait_for(lambda: identity in stack.stage_sources().count().raw.copies)


def test_malformed_mqtt_payload_becomes_a_dead_letter(system: SystemUnderTest) -> None:
    stack = system.whole()
    topic = "kidjamo/bracelets/demo-2/measurements"
    command = ["mosquitto_pub", "-p", str(stack.mqtt.port), "-q", "1", "-t", topic, "-m", "not json"]
    subprocess.run(command, check=True, timeout=PATIENCE_S)
    statement = (
        "SELECT source, convert_from(original, 'UTF8') FROM ingestion_errors WHERE device_id = 'demo-2'"
    )
    assert wait_for(lambda: rows(system, statement)) == [("gateway", "not json")]


def test_api_killed_for_a_while_loses_nothing(system: SystemUnderTest) -> None:
    stack = system.whole()
    api = stack.services["api"]
    before = stack.stage_sources().count()
    api.kill()
    time.sleep(8)
    assert not api.running
    api.start()
    api.wait_until(lambda: stack.serves(stack.api_url), PATIENCE_S)
    stack.stop_measuring()
    counts = wait_for(lambda: (c := stack.stage_sources().count()) and not c.lost() and c)
    assert counts.bracelet.distinct > before.bracelet.distinct
    assert counts.silver.distinct >= len(counts.critical) > 0
    assert counts.duplicated() == 0
    assert counts.windows > 0


def test_delta_tables_open_in_delta_rs_with_the_rows_kafka_holds(system: SystemUnderTest) -> None:
    stack = system.whole()
    counts = stack.stage_sources().count()
    raw = DeltaTable(str(stack.lake / "raw" / "iot_measurements"))
    assert raw.count() == counts.raw.copies.total() == counts.kafka.copies.total()
    with closing(stack.dsn.connect()) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM alerts WHERE severity = 'CRITICAL'")
        assert cursor.fetchone() == (DeltaTable(str(stack.lake / "silver" / "critical_alerts")).count(),)
