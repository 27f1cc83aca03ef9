"""The command line, its exit codes, and a complete gateway process: MQTT in, HTTP out."""

from __future__ import annotations

import gzip
import json
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version
from pathlib import Path
from threading import Thread
from typing import Any
from uuid import uuid4

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from deploy.local.mqtt import MqttBroker
from deploy.local.ports import free_port
from edge_gateway import cli
from tests.waiting import PATIENCE_S, wait_for
from vitals.topics import gateway_state, measurements_of

CONFIG = """
gateway_id = "{gateway_id}"
data_dir = "data"
accept_unknown_mqtt = true
[api]
url = "http://127.0.0.1:{api_port}"
[mqtt]
port = {mqtt_port}
"""


class RecordingApi:
    """An HTTP server with the ingestion API's two routes; records what it receives."""

    def __init__(self, port: int) -> None:
        self.readings: list[dict[str, Any]] = []
        self.errors: list[dict[str, Any]] = []
        api = self

        class RecordingHandler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = gzip.decompress(self.rfile.read(int(self.headers["Content-Length"])))
                document = json.loads(body)
                if self.path == "/iot/errors":
                    api.errors += document["errors"]
                    answer: dict[str, Any] = {"accepted": len(document["errors"])}
                else:
                    api.readings += document["readings"]
                    results = [{"status": "accepted", "message_id": each["message_id"], "alerts": []}
                               for each in document["readings"]]  # fmt: skip
                    answer = {"accepted": len(results), "rejected": 0, "results": results}
                payload = json.dumps(answer).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(payload)))
                self.end_headers()
                self.wfile.write(payload)

            def log_message(self, format: str, *args: Any) -> None:
                """Log nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", port), RecordingHandler)
        self.port = self._server.server_port
        Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class MqttTestClient:
    """Publishes to the broker and records what it receives."""

    def __init__(self, broker: MqttBroker, *topics: str) -> None:
        self.received: list[tuple[str, dict[str, Any]]] = []
        self._client = paho.Client(CallbackAPIVersion.VERSION2)
        self._client.on_message = lambda _c, _d, m: self.received.append((m.topic, json.loads(m.payload)))
        self._client.connect(broker.host, broker.port)
        for topic in topics:
            self._client.subscribe(topic, qos=1)
        self._client.loop_start()

    def publish(self, topic: str, payload: str) -> None:
        self._client.publish(topic, payload, qos=1).wait_for_publish(PATIENCE_S)

    def alarms(self, message_id: str) -> list[dict[str, Any]]:
        return [each for _, each in self.received if each.get("message_id") == message_id]

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


@contextmanager
def gateway(config: Path) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "edge_gateway.cli", "run", "--config", str(config)]
    with (config.parent / "gateway.log").open("a") as log:
        process = subprocess.Popen(command, stderr=log, text=True)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()


def write_config(directory: Path, broker: MqttBroker, api_port: int) -> tuple[Path, str]:
    gateway_id = f"gw-{uuid4()}"
    path = directory / "gateway.toml"
    path.write_text(CONFIG.format(gateway_id=gateway_id, api_port=api_port, mqtt_port=broker.port))
    return path, gateway_id


def a_payload(**values: float) -> tuple[str, str]:
    identity = str(uuid4())
    document = {
        "patient_id": "patient-001-ss",
        "timestamp": "2025-08-24T10:30:00Z",
        "message_id": identity,
        "measurements": values,
    }
    return identity, json.dumps(document)


def outbox_of(config: Path) -> dict[str, int]:
    command = [sys.executable, "-m", "edge_gateway.cli", "outbox", "--config", str(config), "--json"]
    counts: dict[str, int] = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    return counts


def test_gateway_evaluates_stores_and_delivers_readings_and_stops_cleanly(
    tmp_path: Path, mqtt_broker: MqttBroker
) -> None:
    api = RecordingApi(0)
    config, gateway_id = write_config(tmp_path, mqtt_broker, api.port)
    device = f"demo-{uuid4()}"
    client = MqttTestClient(mqtt_broker, "kidjamo/patients/+/alarms", gateway_state(gateway_id))
    with gateway(config) as process:
        wait_for(lambda: any(each.get("status") == "online" for _, each in client.received))
        identity, payload = a_payload(spo2_pct=85.0, temp_corp=38.5)
        client.publish(measurements_of(device), payload)
        client.publish(measurements_of(device), "not json")
        (reading,) = wait_for(lambda: [each for each in api.readings if each["device_id"] == device])
        (letter,) = wait_for(lambda: [each for each in api.errors if each.get("device_id") == device])
        wait_for(lambda: len(client.alarms(identity)) == 3)
        wait_for(lambda: outbox_of(config)["delivered"] >= 1)
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_S) == 0
        wait_for(lambda: client.received[-1][1].get("status") == "offline")
    client.close()
    api.close()
    assert (reading["message_id"], reading["gateway_id"], reading["source"]) == (identity, gateway_id, "mqtt")
    assert (letter["source"], letter["gateway_id"], letter["original"]) == (
        "gateway",
        gateway_id,
        "bm90IGpzb24=",
    )
    assert [alarm["type"] for alarm in client.alarms(identity)] == [
        "CRITICAL_SPO2",
        "CRITICAL_TEMPERATURE",
        "CRITICAL_FEVER_SPO2",
    ]
    assert "patient-001" not in (tmp_path / "gateway.log").read_text()


def test_gateway_killed_during_an_api_outage_delivers_everything_later(
    tmp_path: Path, mqtt_broker: MqttBroker
) -> None:
    api_port = free_port()
    config, _ = write_config(tmp_path, mqtt_broker, api_port)
    device = f"kill-{uuid4()}"
    client = MqttTestClient(mqtt_broker)
    payloads = [a_payload(spo2_pct=97.0) for _ in range(300)]
    with gateway(config) as process:
        wait_for(lambda: "sources: mqtt" in (tmp_path / "gateway.log").read_text())
        wait_for(lambda: "connected" in (tmp_path / "gateway.log").read_text())
        time.sleep(0.3)
        for _, payload in payloads[:150]:
            client.publish(measurements_of(device), payload)
        process.kill()
    for _, payload in payloads[150:]:
        client.publish(measurements_of(device), payload)
    api = RecordingApi(api_port)
    with gateway(config) as process:
        sent = {identity for identity, _ in payloads}
        wait_for(lambda: sent <= {each["message_id"] for each in api.readings})
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE_S) == 0
    client.close()
    api.close()
    with closing(sqlite3.connect(tmp_path / "data" / "outbox.sqlite3")) as db:
        kept = [row[0] for row in db.execute("SELECT message_id FROM readings ORDER BY id")]
    assert [each for each in kept if each in sent] == [identity for identity, _ in payloads]


def test_second_gateway_on_the_same_directory_is_refused(tmp_path: Path, mqtt_broker: MqttBroker) -> None:
    config, _ = write_config(tmp_path, mqtt_broker, 1)
    with gateway(config) as process:
        wait_for(lambda: "sources: mqtt" in (tmp_path / "gateway.log").read_text())
        command = [sys.executable, "-m", "edge_gateway.cli", "run", "--config", str(config)]
        second = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S)
        assert second.returncode == 1
        assert "another gateway uses" in second.stderr
        assert process.poll() is None


def test_missing_config_is_usage_with_an_example(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["run", "--config", str(tmp_path / "none.toml")]) == 2
    assert '[api]\nurl = "http://127.0.0.1:8001"' in capsys.readouterr().err


def test_check_config_prints_a_summary(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "gateway.toml"
    path.write_text(CONFIG.format(gateway_id="gw", api_port=8001, mqtt_port=1883))
    assert cli.main(["check-config", "--config", str(path)]) == 0
    assert "gateway gw: 0 bracelets over mqtt, delivers to http://127.0.0.1:8001" in capsys.readouterr().out
    path.write_text("x = 1")
    assert cli.main(["check-config", "--config", str(path)]) == 2


def test_outbox_of_a_gateway_that_never_ran_is_empty(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "gateway.toml"
    path.write_text(CONFIG.format(gateway_id="gw", api_port=8001, mqtt_port=1883))
    assert cli.main(["outbox", "--config", str(path), "--json"]) == 0
    counts = json.loads(capsys.readouterr().out)
    assert {name: counts[name] for name in ("committed", "pending", "delivered", "dead_letters")} == {
        "committed": 0,
        "pending": 0,
        "delivered": 0,
        "dead_letters": 0,
    }
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("command", ["run", "check-config", "outbox"])
def test_help_explains_every_option(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as done:
        cli.main([command, "--help"])
    assert done.value.code == 0
    assert "--config FILE" in capsys.readouterr().out


def test_version_is_that_of_the_package(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as done:
        cli.main(["--version"])
    assert done.value.code == 0
    assert capsys.readouterr().out == f"kidjamo-gateway {version('kidjamo')}\n"
