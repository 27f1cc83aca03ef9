"""A vital added to the registry arrives everywhere: gateway, API, Kafka, PostgreSQL, lake and dashboards."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from cloud_ingest.postgres.migrations import migrate
from cloud_ingest.settings import Settings
from deploy.local.postgres import PostgresServer
from deploy.local.stack import program
from tests.house.glucose import python_path
from tests.waiting import PATIENCE_S

PATIENT, DEVICE = "patient-glucose", "glucose-meter"


@pytest.fixture(scope="module")
def stations(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What each part makes of a reading with the vital, in a fresh interpreter."""
    environment = os.environ | {"PYTHONPATH": python_path(tmp_path_factory.mktemp("startup"))}
    printed = subprocess.run(
        [sys.executable, "-m", "tests.house.stations"],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=PATIENCE_S,
    ).stdout
    found: dict[str, Any] = json.loads(printed)
    return found


def test_fifth_vital_passes_the_gateway(stations: dict[str, Any]) -> None:
    assert stations["gateway"] == {"spo2_pct": 97.0, "glucose_mmol": 5.6}


def test_fifth_vital_raises_technical_alerts_only(stations: dict[str, Any]) -> None:
    assert stations["alerts"] == []
    assert stations["implausible"] == [
        ["physiologically implausible: glucose", "valeur physiologiquement impossible\u00a0: glycémie"]
    ]
    assert stations["sensor_off"] == [
        ["sensor off or not worn: glucose", "capteur débranché ou non porté\u00a0: glycémie"]
    ]


def test_fifth_vital_does_not_change_the_quality_score(stations: dict[str, Any]) -> None:
    assert stations["quality"] == 25.0


def test_fifth_vital_is_in_the_schemas_of_the_api(stations: dict[str, Any]) -> None:
    fields = ["spo2_pct", "freq_card", "freq_resp", "temp_corp", "glucose_mmol"]
    assert stations["api"] == {"Measurements": fields, "FlatReading": fields}


def test_fifth_vital_is_in_the_row_for_postgresql(stations: dict[str, Any]) -> None:
    assert stations["recorder"] == 5.6


def test_fifth_vital_has_columns_in_the_lake(stations: dict[str, Any]) -> None:
    assert stations["lake"] == [
        "glucose_mmol",
        "glucose_mmol_min",
        "glucose_mmol_mean",
        "glucose_mmol_max",
        "glucose_mmol_baseline",
    ]


@pytest.mark.parametrize(
    ("board", "table", "heading"),
    [
        ("ward-en.json", "Latest values", "Glucose (mmol/L)"),
        ("ward-fr.json", "Dernières valeurs", "Glycémie (mmol/L)"),
    ],
)
def test_fifth_vital_is_on_the_dashboards(
    stations: dict[str, Any], board: str, table: str, heading: str
) -> None:
    queries = stations["dashboards"][board]
    assert set(queries) == {table, heading}
    assert f'AS "{heading}"' in queries[table]
    assert "avg(m.glucose_mmol) AS value" in queries[heading]


def test_bracelet_record_refuses_a_vital_it_has_no_field_for(stations: dict[str, Any]) -> None:
    assert stations["bracelet"] == "bracelet record: no field for glucose_mmol"


def test_existing_database_gains_the_column(postgres: PostgresServer, tmp_path: Path) -> None:
    dsn = postgres.database("fifth_vital")
    migrate(Settings.from_environment(dsn.env()))
    environment = os.environ | {"PYTHONPATH": python_path(tmp_path), **dsn.env()}
    for _ in range(2):  # the second run changes nothing
        subprocess.run(
            [program("kidjamo-ingest"), "migrate"], env=environment, check=True, timeout=PATIENCE_S
        )
    with closing(dsn.connect()) as connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT table_name, data_type FROM information_schema.columns WHERE column_name = 'glucose_mmol'"
            " ORDER BY 1"
        )
        columns = cursor.fetchall()
    assert ("measurements", "double precision") in columns
    assert ("measurements_default", "double precision") in columns
