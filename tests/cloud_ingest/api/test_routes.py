"""Metrics, health, OpenAPI and identifiers over HTTP."""

from __future__ import annotations

import csv
from collections.abc import Iterator

import pytest

from tests.cloud_ingest.running import RunningApi
from tests.cloud_ingest.samples import CRISIS, reading
from tests.waiting import wait_until

MEASUREMENTS, ALERTS = "kidjamo-iot-measurements", "kidjamo-iot-alerts"
STATUS, ERRORS = "kidjamo-iot-device-status", "kidjamo-iot-errors"


def test_metrics_have_the_keys_of_the_contract_and_count(api: RunningApi, device: str) -> None:
    before = api.http.get("/metrics").json()
    api.post({"readings": [reading(CRISIS, device_id=device), reading(device_id=device)]})
    after = api.http.get("/metrics").json()
    assert set(after) >= {
        "processed_messages", "kafka_topics", "api_uptime_s", "latency_p50_s", "latency_p95_s",
        "latency_p99_s", "throughput_eps", "valid_pct", "alerts_by_type",
    }  # fmt: skip
    assert after["processed_messages"] - before["processed_messages"] == 2
    alerts = [seen["alerts_by_type"].get("CRITICAL_SPO2", 0) for seen in (before, after)]
    assert alerts[1] - alerts[0] == 1
    assert set(after["kafka_topics"]) == {MEASUREMENTS, ALERTS, STATUS, ERRORS}
    assert after["kafka_topics"][MEASUREMENTS] - before["kafka_topics"][MEASUREMENTS] == 2
    text = api.http.get("/metrics", headers={"Accept": "text/plain"})
    assert text.headers["content-type"].startswith("text/plain")
    assert f"kidjamo_readings_accepted_total {float(after['processed_messages'])}" in text.text


def test_csv_has_a_row_per_reading(api: RunningApi, device: str) -> None:
    api.post(reading(CRISIS, device_id=device))
    path = api.settings.metrics_csv

    def rows() -> list[list[str]]:
        with path.open(newline="") as file:
            return [row for row in csv.reader(file) if row[-1] == device]

    assert wait_until(lambda: len(rows()) == 1)
    (row,) = rows()
    assert row[2:6] == ["3", "CRITICAL_SPO2|CRITICAL_TEMPERATURE|CRITICAL_FEVER_SPO2", "100.0", "1"]
    assert 0 < float(row[1]) < 5


@pytest.mark.parametrize("path", ["/health", "/metrics", "/reconciliation", "/docs"])
def test_head_response_is_that_of_get_without_a_body(api: RunningApi, path: str) -> None:
    head = api.http.head(path)
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-type"] == api.http.get(path).headers["content-type"]


def test_health_names_its_components(api: RunningApi) -> None:
    answer = api.http.get("/health")
    assert answer.status_code == 200
    body = answer.json()
    assert (body["status"], body["api_version"]) == ("healthy", "1.0.0")
    assert set(body["components"]) == {"kafka", "database", "spool"}
    assert body["components"]["database"] == {"status": "not_configured"}


def test_openapi_describes_every_route_with_examples(api: RunningApi) -> None:
    document = api.http.get("/openapi.json").json()
    alarms = {"/alarms/{patient_id}/acknowledge", "/alarms/conditions/acknowledge"}
    ingestion = {"/iot/measurements", "/ingest", "/iot/errors", "/iot/heartbeat"}
    erasure = {"/patients/{patient_id}", "/erasures/{request_id}"}
    status = {"/alarms", "/health", "/metrics", "/reconciliation"}
    assert set(document["paths"]) == ingestion | alarms | erasure | status
    schemas = document["components"]["schemas"]
    for path in ingestion | alarms:
        content = document["paths"][path]["post"]["requestBody"]["content"]["application/json"]
        assert content["examples"]
        for reference in content["schema"].get("anyOf", [content["schema"]]):
            assert reference["$ref"].rpartition("/")[2] in schemas
    references = set(_references(document))
    assert {name.rpartition("/")[2] for name in references} <= set(schemas)
    assert api.http.get("/docs").status_code == 200


def test_documented_examples_are_accepted(api: RunningApi) -> None:
    paths = api.http.get("/openapi.json").json()["paths"]
    for path in ("/iot/measurements", "/ingest", "/iot/errors", "/iot/heartbeat"):
        content = paths[path]["post"]["requestBody"]["content"]["application/json"]
        for example in content["examples"].values():
            answer = api.post(example["value"], path)
            assert answer.status_code == 200
            assert answer.json().get("rejected", 0) == 0


def _references(node: object) -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"]
        for value in node.values():
            yield from _references(value)
    elif isinstance(node, list):
        for value in node:
            yield from _references(value)


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("/alarms/%00/acknowledge", {"by": "F"}, "patient_id"),
        ("/alarms/a%1fb/acknowledge", {"by": "F"}, "patient_id"),
        (f"/alarms/{'p' * 129}/acknowledge", {"by": "F"}, "patient_id"),
        ("/alarms/conditions/acknowledge", {"key": "a\u0000b", "by": "F"}, "key"),
    ],
)
def test_acknowledgement_of_an_invalid_identifier_is_refused(
    api: RunningApi, path: str, body: dict[str, str], field: str
) -> None:
    answer = api.post(body, path)
    assert answer.status_code == 422
    assert set(answer.json()) == {"error", "field", "reason"}
    assert answer.json()["field"] == field


def test_openapi_describes_identifiers_of_alarms(api: RunningApi) -> None:
    document = api.http.get("/openapi.json").json()
    (patient,) = document["paths"]["/alarms/{patient_id}/acknowledge"]["post"]["parameters"]
    assert patient["schema"]["pattern"] == r"^[^\x00-\x1f\x7f/+#]+$"
    assert patient["schema"]["maxLength"] == 128
    key = document["components"]["schemas"]["ConditionAcknowledgement"]["properties"]["key"]
    assert (key["minLength"], key["maxLength"], key["pattern"]) == (1, 300, r"^[^\x00-\x1f\x7f]*$")
