"""Heartbeats over HTTP: published with pseudonyms, durable before the response, validated."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from deploy.local.kafka import KafkaBroker
from tests.cloud_ingest.running import NOWHERE, RunningApi, environment
from tests.cloud_ingest.topic_reader import of_device
from tests.waiting import wait_until

PATIENT = "patient-001-ss"


def a_heartbeat(gateway: str = "gw-1", **changes: Any) -> dict[str, Any]:
    return {
        "status_id": str(uuid4()),
        "gateway_id": gateway,
        "timestamp": "2025-08-24T10:30:00Z",
        "parts": {"api": "up"},
        "outbox_pending": 3,
        "contacts_reachable": True,
        "watches": [PATIENT],
        "episodes": [
            {"patient_id": PATIENT, "group": "SPO2", "phase": "ACTIVE"},
        ],
        **changes,
    }


def test_heartbeat_is_published_with_pseudonyms_only(own_kafka: KafkaBroker, tmp_path: Path) -> None:
    gateway = f"gw-{uuid4().hex[:8]}"
    beat = a_heartbeat(gateway)
    with RunningApi(environment(tmp_path, own_kafka.bootstrap)) as api:
        answer = api.post(beat, "/iot/heartbeat")
        assert (answer.status_code, answer.json()) == (200, {"status": "accepted", "acknowledgements": []})
        assert wait_until(lambda: api.component("spool")["pending"] == 0)
    (seen,) = of_device(own_kafka.bootstrap, "kidjamo-iot-device-status", gateway)
    pseudonym = seen.value["watches"][0]
    assert pseudonym.startswith("p1_")
    assert PATIENT not in str(seen.value)
    assert seen.key == gateway
    received = seen.value.pop("ingestion_timestamp")
    assert received.endswith("Z")
    assert seen.value == {
        **beat,
        "kind": "heartbeat",
        "message_id": beat["status_id"],
        "device_id": gateway,
        "watches": [pseudonym],
        "episodes": [{"patient_id": pseudonym, "group": "SPO2", "phase": "ACTIVE"}],
    }


def test_heartbeat_is_spooled_while_kafka_is_unavailable(tmp_path: Path) -> None:
    with RunningApi(environment(tmp_path, NOWHERE)) as api:
        assert api.post(a_heartbeat(), "/iot/heartbeat").status_code == 200
        assert api.component("spool")["pending"] == 1


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"gateway_id": ""}, "gateway_id"),
        ({"status_id": "x"}, "status_id"),
        ({"watches": ["a"] * 1001}, "watches"),
        ({"watches": ["a/b"]}, "watches.0"),
        ({"parts": {"api": "up\0"}}, "parts.api"),
        ({"outbox_pending": -1}, "outbox_pending"),
        ({"episodes": [{"patient_id": "a", "group": "PAIN", "phase": "ACTIVE"}]}, "episodes.0.group"),
    ],
)
def test_malformed_heartbeat_is_refused_with_the_field(
    tmp_path: Path, changes: dict[str, Any], field: str
) -> None:
    with RunningApi(environment(tmp_path, NOWHERE)) as api:
        answer = api.post(a_heartbeat(**changes), "/iot/heartbeat")
        assert answer.status_code == 422
        assert answer.json()["field"] == field
        assert api.component("spool")["pending"] == 0


def test_alarms_without_a_database_get_503_with_the_reason(tmp_path: Path) -> None:
    with RunningApi(environment(tmp_path, NOWHERE)) as api:
        answer = api.http.get("/alarms")
        assert (answer.status_code, answer.json()["error"]) == (503, "database_away")
        assert "PGHOST" in answer.json()["reason"]
        assert answer.headers["Retry-After"] == "5"
