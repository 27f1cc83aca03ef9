"""Print, as JSON, what each part of the system makes of a reading with the made-up vital. No servers."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from cloud_ingest.api.schemas import component_schemas
from cloud_ingest.recorder.row_mapping import TABLES, row_of
from dashboards.render import rendered
from edge_gateway.config import MqttConfig
from edge_gateway.mqtt.session import MqttSession
from edge_gateway.mqtt.source import MqttSource
from edge_gateway.mqtt.state_topic import last_will
from edge_gateway.state import GatewayState
from lakehouse import schemas
from vitals.gatt.bracelet import BraceletRecord, RecordFlag
from vitals.limits import VITALS
from vitals.quality import quality_score
from vitals.reading import Measurements, Reading, parse_reading
from vitals.rules import evaluate
from vitals.topics import MEASUREMENTS

DOCUMENT: dict[str, Any] = {
    "patient_id": "patient-001-ss",
    "timestamp": "2025-08-24T10:30:00Z",
    "measurements": {"spo2_pct": 97.0, "glucose_mmol": 5.6},
}


def main() -> None:
    """Send the reading through each part."""
    reading = _through_the_gateway()
    found = {
        "gateway": json.loads(reading.model_dump_json(exclude_none=True))["measurements"],
        "alerts": [alert.type for alert in evaluate(reading)],
        "quality": quality_score(reading),
        "implausible": _alerts_of(glucose_mmol=51.0),
        "sensor_off": _alerts_of(glucose_mmol=0.0),
        "api": {name: _properties(name) for name in ("Measurements", "FlatReading")},
        "recorder": _recorded(reading),
        "lake": [name for name in _lake_columns() if name.startswith("glucose")],
        "dashboards": {name: _panels(json.loads(text)) for name, text in rendered().items()},
        "bracelet": _encoding_error(reading.measurements),
    }
    print(json.dumps(found))


def _through_the_gateway() -> Reading:
    session = MqttSession(MqttConfig(), "fifth-vital", last_will("fifth-vital"))
    source = MqttSource(session, {}, True, GatewayState("gw-test"))
    return source.read("glucose-meter", json.dumps(DOCUMENT).encode())


def _alerts_of(**measurements: float) -> list[tuple[str, str]]:
    reading = parse_reading(DOCUMENT | {"device_id": "glucose-meter", "measurements": measurements})
    return [(alert.message, alert.message_fr) for alert in evaluate(reading)]


def _properties(name: str) -> list[str]:
    fields = {vital.field for vital in VITALS}
    return [name for name in component_schemas()[name]["properties"] if name in fields]


def _recorded(reading: Reading) -> float | None:
    value = reading.to_wire() | {"ingestion_timestamp": datetime.now(UTC).isoformat(), "quality_score": 25.0}
    table = TABLES[MEASUREMENTS]
    row = row_of(table, json.dumps(value).encode())
    return None if row is None else dict(zip(table.columns, row, strict=True))["glucose_mmol"]


def _lake_columns() -> list[str]:
    return [name for table in (schemas.RAW, schemas.WINDOWS, schemas.DAILY) for name in table.fieldNames()]


def _panels(board: dict[str, Any]) -> dict[str, str]:
    """SQL of each panel that queries the vital, by the panel's title."""
    queries = {
        panel["title"]: target["rawSql"] for panel in board["panels"] for target in panel.get("targets", ())
    }
    return {title: sql for title, sql in queries.items() if "glucose_mmol" in sql}


def _encoding_error(measurements: Measurements) -> str:
    try:
        bytes(BraceletRecord(1, 1, 0, RecordFlag.CLOCK_SET, measurements))
    except ValueError as error:
        return str(error)
    return ""


if __name__ == "__main__":
    main()
