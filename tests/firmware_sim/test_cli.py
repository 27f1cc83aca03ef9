"""The command as a process: what it simulates, how it stops, and its error messages."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from bleak import BleakClient, BleakScanner

from deploy.local.mqtt import MqttBroker
from deploy.local.ports import free_port, is_listening
from firmware_sim.bleak_backend import open_radio
from firmware_sim.cli import main
from firmware_sim.options import parse
from tests.firmware_sim.air import ReceivedValues, ask, until
from tests.firmware_sim.mqtt.test_bracelet import subscriber
from tests.waiting import PATIENCE_S
from vitals.gatt.bracelet import LIVE_RECORD, RECORD_ACCESS, STORED_RECORD, BraceletRecord
from vitals.gatt.record_access import Request
from vitals.reading import derived_message_id

PROGRAM = Path(sys.executable).with_name("kidjamo-sim")


@asynccontextmanager
async def simulator(*arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(str(PROGRAM), *arguments, stderr=asyncio.subprocess.PIPE)
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def ended(process: asyncio.subprocess.Process, timeout_s: float = PATIENCE_S) -> tuple[int | None, str]:
    assert process.stderr
    async with asyncio.timeout(timeout_s):
        output = (await process.stderr.read()).decode()
        await process.wait()
    return process.returncode, output


def logged_readings(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


async def test_bracelets_every_logged_reading_is_received(tmp_path: Path, mqtt_broker: MqttBroker) -> None:
    """Read BLE through bleak and MQTT through the broker; together they match the log of sent readings."""
    ledger, port = tmp_path / "ledger.jsonl", free_port()
    arguments = ["--ble", "2", "--mqtt", "1", "--hci", f"tcp-server:127.0.0.1:{port}", "--period", "0.1"]
    arguments += ["--mqtt-broker", f"127.0.0.1:{mqtt_broker.port}", "--ledger", str(ledger)]
    live, stored, indications = ReceivedValues(), ReceivedValues(), ReceivedValues()
    with subscriber(mqtt_broker.port, "kidjamo/bracelets/mqtt-001/measurements") as heard:
        await until(lambda: heard.subscribed)
        async with simulator("bracelets", *arguments) as process:
            await until(lambda: is_listening(port))
            async with open_radio(f"tcp-client:127.0.0.1:{port}"):
                devices = {device.name: device for device in await BleakScanner.discover(0.5)}
                assert devices.keys() == {"Kidjamo-ble-001", "Kidjamo-ble-002"}
                async with BleakClient(devices["Kidjamo-ble-001"]) as client:
                    await client.start_notify(LIVE_RECORD, live)
                    await client.start_notify(STORED_RECORD, stored)
                    await client.start_notify(RECORD_ACCESS, indications)
                    await until(lambda: len(live.values) >= 5)
                    await ask(client, Request.report_from(0), indications)
                    process.send_signal(signal.SIGTERM)
                    await asyncio.sleep(0.5)
                    assert process.returncode is None  # it keeps running until its flash is released
                    await ask(client, Request.release_up_to(10**6), indications)
                async with BleakClient(devices["Kidjamo-ble-002"]) as client:
                    await client.start_notify(RECORD_ACCESS, indications)
                    await ask(client, Request.release_up_to(10**6), indications)
                code, output = await ended(process)
        assert (code, "0 not acknowledged yet" in output) == (0, True)
        logged = logged_readings(ledger)
        await until(lambda: len(heard.seqs) >= sum(line["device_id"] == "mqtt-001" for line in logged))
    assert {line["device_id"]: line["patient_id"] for line in logged} == {
        "ble-001": "patient-001-ss",
        "ble-002": "patient-002-as",
        "mqtt-001": "patient-003-sc",
    }
    records = {BraceletRecord.from_bytes(value) for value in live.values + stored.values}
    over_ble = {str(derived_message_id("ble-001", r.boot, r.seq, r.device_time_ms)) for r in records}
    assert over_ble == {line["message_id"] for line in logged if line["device_id"] == "ble-001"}
    over_mqtt = {json.loads(payload)["message_id"] for _, payload in heard.messages}
    assert over_mqtt >= {line["message_id"] for line in logged if line["device_id"] == "mqtt-001"}


async def test_bracelets_without_receivers_end_after_the_drain(tmp_path: Path) -> None:
    ledger = tmp_path / "ledger.jsonl"
    arguments = ["--ble", "1", "--mqtt", "1", "--hci", f"unix-server:{tmp_path}/hci", "--period", "0.2"]
    arguments += ["--mqtt-broker", f"127.0.0.1:{free_port()}", "--ledger", str(ledger)]
    async with simulator("bracelets", *arguments, "--duration", "1", "--drain-seconds", "0.5") as process:
        code, output = await ended(process, 20)
    assert code == 0
    assert "no connection to the broker" in output
    assert f"{len(logged_readings(ledger))} not acknowledged yet" in output
    assert 8 <= len(logged_readings(ledger)) <= 12


async def test_bracelets_second_signal_stops_at_once(tmp_path: Path) -> None:
    port = free_port()
    arguments = ["--ble", "1", "--mqtt", "0", "--hci", f"tcp-server:127.0.0.1:{port}"]
    async with simulator("bracelets", *arguments, "--drain-seconds", "600") as process:
        await until(lambda: is_listening(port))
        await asyncio.sleep(0.5)
        process.send_signal(signal.SIGINT)
        await asyncio.sleep(0.3)
        process.send_signal(signal.SIGINT)
        assert (await ended(process, 5))[0] == 0


async def test_bracelets_hci_port_busy_says_what_to_do() -> None:
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    spec = f"tcp-server:127.0.0.1:{port}"
    async with server, simulator("bracelets", "--ble", "1", "--hci", spec) as process:
        code, output = await ended(process, 20)
    assert code == 1
    assert f"HCI port 127.0.0.1:{port} is in use" in output
    assert "--hci" in output


async def test_readings_over_mqtt(tmp_path: Path, mqtt_broker: MqttBroker) -> None:
    ledger = tmp_path / "ledger.jsonl"
    with subscriber(mqtt_broker.port, "kidjamo/bracelets/+/measurements") as heard:
        await until(lambda: heard.subscribed)
        arguments = ["--target", "mqtt", "--mqtt-broker", f"127.0.0.1:{mqtt_broker.port}", "--count", "30"]
        async with simulator("readings", *arguments, "--speed", "100", "--ledger", str(ledger)) as process:
            assert (await ended(process, 20))[0] == 0
        sent = {line["message_id"] for line in logged_readings(ledger)}
        await until(lambda: {json.loads(payload)["message_id"] for _, payload in heard.messages} >= sent)
    assert len(sent) == 30


async def test_readings_unavailable_api_is_retried_until_the_drain_ends(tmp_path: Path) -> None:
    arguments = ["--url", f"http://127.0.0.1:{free_port()}", "--duration", "0.5", "--drain-seconds", "0.5"]
    async with simulator("readings", *arguments) as process:
        code, output = await ended(process, 20)
    assert code == 1
    assert "retrying" in output
    assert "3 readings measured, 0 delivered" in output


def test_readings_to_kafka_without_a_key_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("PSEUDONYM_KEY_FILE", "PSEUDONYMISATION"):
        monkeypatch.delenv(name, raising=False)
    assert main(["readings", "--target", "kafka"]) == 1
    assert "PSEUDONYM_KEY_FILE" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], (3, 2)),
        (["--ble", "1"], (1, 0)),
        (["--mqtt", "4"], (0, 4)),
        (["--ble", "3", "--mqtt", "2"], (3, 2)),
        (["--count", "5"], (3, 2)),
        (["--count", "5", "--transport", "ble"], (5, 0)),
        (["--count", "5", "--transport", "mqtt"], (0, 5)),
    ],
)
def test_options_number_of_bracelets(arguments: list[str], expected: tuple[int, int]) -> None:
    options = parse(["bracelets", *arguments])
    assert (options.ble, options.mqtt) == expected


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["fly"],
        ["bracelets", "--period", "0"],
        ["bracelets", "--period", "nan"],
        ["bracelets", "--ble", "-1"],
        ["bracelets", "--mqtt-broker", "nowhere"],
        ["bracelets", "--speed", "60"],
        ["readings", "--target", "ftp"],
        ["readings", "--start", "yesterday"],
    ],
)
def test_options_wrong_usage_exits_with_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended_with:
        parse(arguments)
    assert ended_with.value.code == 2
    assert "kidjamo-sim" in capsys.readouterr().err


def test_options_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended_with:
        parse(["--version"])
    assert ended_with.value.code == 0
    assert capsys.readouterr().out == f"kidjamo-sim {version('kidjamo')}\n"


@pytest.mark.parametrize("command", ["bracelets", "readings"])
def test_options_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended_with:
        parse([command, "--help"])
    assert ended_with.value.code == 0
    assert "%%" not in capsys.readouterr().out


async def test_bracelets_standard_devices_advertise(tmp_path: Path) -> None:
    arguments = ["--standard", "oximeter,thermometer", "--hci", f"unix-server:{tmp_path}/hci"]
    async with simulator("bracelets", *arguments, "--period", "0.05") as process:
        await until(lambda: (tmp_path / "hci").exists())
        async with open_radio(f"unix-client:{tmp_path}/hci"):
            found = await BleakScanner.discover(0.5, return_adv=True)
            offered = {device.name: advertised.service_uuids for device, advertised in found.values()}
            assert offered == {
                "Sim Oximeter 001": ["00001822-0000-1000-8000-00805f9b34fb"],
                "Sim Thermometer 002": ["00001809-0000-1000-8000-00805f9b34fb"],
            }
            oximeter = next(device for device, _ in found.values() if device.name == "Sim Oximeter 001")
            heard = ReceivedValues()
            async with BleakClient(oximeter) as client:
                await client.start_notify("2a5f", heard)
                await until(lambda: len(heard.values) >= 3)
        process.send_signal(signal.SIGTERM)
        code, output = await ended(process)
    assert code == 0
    assert "Sim Thermometer 002 advertises at F0:1B:DC:4B:C3:52" in output
