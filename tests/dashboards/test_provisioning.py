"""Grafana's provisioning files: valid, pointing at our files, and without secrets."""

from __future__ import annotations

import re
from typing import Any

import pytest

from dashboards.postgres_query import DATASOURCE
from dashboards.structure import PROVISIONING

VARIABLE = re.compile(r"\$[A-Z]+")


def provisioned(folder: str) -> dict[str, Any]:
    yaml = pytest.importorskip("yaml")
    (file,) = (PROVISIONING / folder).iterdir()
    document = yaml.safe_load(file.read_text(encoding="utf-8"))
    assert document["apiVersion"] == 1
    assert isinstance(document, dict)
    return document


def test_the_data_source_is_the_one_the_panels_name() -> None:
    (source,) = provisioned("datasources")["datasources"]
    assert source["type"] == DATASOURCE.type_val == "grafana-postgresql-datasource"
    assert source["uid"] == DATASOURCE.uid == "kidjamo-postgresql"


def test_credentials_come_from_the_environment() -> None:
    (source,) = provisioned("datasources")["datasources"]
    assert source["secureJsonData"] == {"password": "$PGPASSWORD"}
    assert source["url"] == "$PGHOST:$PGPORT"
    assert source["user"] == "$PGUSER"
    assert source["jsonData"]["database"] == "$PGDATABASE"
    assert source["jsonData"]["sslmode"] == "$PGSSLMODE"


def test_files_contain_no_secret() -> None:
    for file in PROVISIONING.rglob("*.yaml"):
        for line in file.read_text(encoding="utf-8").splitlines():
            key, _, value = line.partition(":")
            if re.search("password|token|secret|key", key, re.IGNORECASE) and value.strip():
                assert VARIABLE.fullmatch(value.strip()), f"{file.name}: {key.strip()}"


def test_dashboards_are_read_from_the_directory_the_environment_names() -> None:
    (provider,) = provisioned("dashboards")["providers"]
    assert provider["type"] == "file"
    assert provider["options"] == {"path": "$KIDJAMO_DASHBOARDS"}
    assert provider["allowUiUpdates"] is False
