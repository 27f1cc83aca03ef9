"""A real gateway on a full, read-only or corrupt disk continues, reports it and loses nothing."""

from __future__ import annotations

import asyncio
import json
import random
import sqlite3
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from deploy.local.mqtt import MqttBroker
from deploy.local.ports import free_port
from deploy.local.process import Service
from edge_gateway.errors import OutboxUnavailable
from edge_gateway.outbox.outbox import Outbox
from edge_gateway.outbox.reading_queries import OutboxCounts
from tests.edge_gateway.commands.test_bracelets import Shell
from tests.edge_gateway.helpers import a_row
from tests.edge_gateway.small_disk import a_small_disk, an_image, mounted
from tests.link.upstream import Upstream, an_upstream
from tests.waiting import PATIENCE_S, eventually

pytestmark = pytest.mark.servers

_CONFIG = """
gateway_id = "gw-disk"
data_dir = "{data}"
[api]
url = "{api}"
[mqtt]
port = {mqtt}
[page]
port = {page}
[[bracelet]]
device_id = "mqtt-001"
patient_id = "patient-001-ss"
"""


@dataclass
class DiskRig:
    """A gateway process with its broker and its API."""

    gateway: Service
    shell: Shell
    broker: MqttBroker
    upstream: Upstream
    page: str
    sent: set[str] = field(default_factory=set)

    async def measure(self, number: int, **values: float) -> None:
        """Publish readings and wait until the broker has them."""
        payloads = [self._payload(values or {"spo2_pct": 97.0}) for _ in range(number)]

        def send() -> None:
            client = paho.Client(CallbackAPIVersion.VERSION2)
            client.max_inflight_messages_set(number)
            client.connect(self.broker.host, self.broker.port)
            client.loop_start()
            topic = "kidjamo/bracelets/mqtt-001/measurements"
            for message in [client.publish(topic, payload, qos=1) for payload in payloads]:
                message.wait_for_publish(PATIENCE_S)
            client.disconnect()
            client.loop_stop()

        await asyncio.to_thread(send)

    def _payload(self, values: dict[str, float]) -> str:
        identity = str(uuid4())
        self.sent.add(identity)
        document = {
            "message_id": identity,
            "timestamp": datetime.now(UTC).isoformat(),
            "measurements": values,
        }
        return json.dumps(document)

    async def start(self) -> None:
        """Start the gateway and wait until it is connected to the broker."""
        self.gateway.log.unlink(missing_ok=True)
        await asyncio.to_thread(self.gateway.start)
        await eventually(self._is_connected)
        await asyncio.sleep(0.2)  # it has subscribed by then

    async def _is_connected(self) -> bool:
        up = "kidjamo_gateway" in await self.metrics()
        return up and ": connected" in self.gateway.log.read_text()

    async def status(self) -> dict[str, Any]:
        """Return the output of `status --json`; empty without an answer."""
        _, printed, _ = await self.shell.run("status", "--json")
        return json.loads(printed) if printed else {}

    async def conditions(self) -> dict[str, str]:
        """Return the open technical conditions and their priority."""
        return {each["kind"]: each["priority"] for each in (await self.status()).get("conditions", [])}

    async def metrics(self) -> str:
        """Return the page's Prometheus metrics; empty without an answer."""
        async with httpx.AsyncClient() as client:
            try:
                return (await client.get(f"{self.page}/metrics")).text
            except httpx.HTTPError:
                return ""

    async def all_arrives(self) -> None:
        """Wait until the API has every reading."""
        await eventually(lambda: self.sent <= self.upstream.accepted.keys())


@asynccontextmanager
async def a_disk_rig(
    directory: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> AsyncIterator[DiskRig]:
    page, config = free_port(), directory / "gateway.toml"
    broker = MqttBroker(directory / "broker")
    await asyncio.to_thread(broker.start)
    async with an_upstream() as upstream:
        config.write_text(_CONFIG.format(data=data, api=upstream.url, mqtt=broker.port, page=page))
        command = [sys.executable, "-m", "edge_gateway.cli", "run", "--config", str(config)]
        gateway = Service("gateway", command, log=directory / "gateway.log")
        rig = DiskRig(gateway, Shell(config, capsys), broker, upstream, f"http://127.0.0.1:{page}")
        try:
            yield rig
        finally:
            await asyncio.to_thread(gateway.stop)
            await asyncio.to_thread(broker.stop)


async def failing(rig: DiskRig) -> bool:
    return (await rig.conditions()).get("OUTBOX_FAILING") == "HIGH"


async def alarmed(rig: DiskRig) -> bool:
    children = (await rig.status()).get("children", [])
    return any(child["alarms"] == {"SPO2": "ACTIVE"} for child in children)


async def test_full_disk_under_a_running_gateway_loses_no_reading_and_no_alarm(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with a_small_disk(tmp_path / "disk") as disk:
        async with a_disk_rig(tmp_path, disk.path / "data", capsys) as rig:
            await rig.start()
            await rig.measure(20)
            await rig.all_arrives()
            disk.fill()
            await rig.measure(1500)
            await eventually(lambda: failing(rig))
            await rig.measure(1, spo2_pct=80.0)
            await eventually(lambda: alarmed(rig))
            async with httpx.AsyncClient() as client:  # the page shows values, and an alarm can be taken
                assert "80" in (await client.get(rig.page)).text
                answer = await client.post(
                    f"{rig.page}/acknowledge", json={"patient_id": "patient-001-ss", "group": "SPO2"}
                )
            assert answer.json() == {"acknowledged": ["SPO2"]}
            assert (await rig.status())["outbox"]["committed"] < len(rig.sent)
            disk.free()
            await rig.all_arrives()
            await eventually(lambda: _is_over(rig))
            assert rig.gateway.running


async def test_gateway_killed_on_a_full_disk_gets_unstored_readings_from_the_broker_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with a_small_disk(tmp_path / "disk") as disk:
        async with a_disk_rig(tmp_path, disk.path / "data", capsys) as rig:
            await rig.start()
            disk.fill()
            await rig.measure(1500)
            await eventually(lambda: failing(rig))
            await asyncio.to_thread(rig.gateway.kill)
            disk.free()
            await rig.start()
            await rig.all_arrives()


async def test_gateway_started_on_a_full_disk_evaluates_and_writes_once_there_is_space(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with a_small_disk(tmp_path / "disk") as disk:
        (disk.path / "data").mkdir()
        disk.fill()
        async with a_disk_rig(tmp_path, disk.path / "data", capsys) as rig:
            await rig.start()
            await eventually(lambda: failing(rig))
            await rig.measure(3, spo2_pct=80.0)
            await eventually(lambda: alarmed(rig))
            assert not rig.upstream.accepted
            disk.free()
            await rig.all_arrives()
            await eventually(lambda: _is_over(rig))


async def _page_shows_the_outbox(rig: DiskRig) -> bool:
    wanted = 'kidjamo_gateway_conditions{kind="OUTBOX_FAILING",priority="HIGH"} 1'
    return wanted in await rig.metrics()


async def _is_over(rig: DiskRig) -> bool:
    return bool(await rig.status()) and not await failing(rig)


async def test_gateway_started_on_a_read_only_disk_restores_alarms_and_writes_later(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with a_small_disk(tmp_path / "disk") as disk:
        async with a_disk_rig(tmp_path, disk.path / "data", capsys) as rig:
            await rig.start()
            await rig.measure(3, spo2_pct=80.0)
            await eventually(lambda: alarmed(rig))
            await asyncio.to_thread(rig.gateway.stop)
            disk.remount("ro")
            await rig.start()
            # the socket for commands cannot be created: the page shows the condition
            await eventually(lambda: _page_shows_the_outbox(rig))
            _, _, complaint = await rig.shell.run("status")
            assert "does not accept commands" in complaint
            await rig.measure(1)
            disk.remount("rw")
            await rig.all_arrives()
            await eventually(lambda: _is_over(rig))
            assert await alarmed(rig)


async def test_disk_that_turns_read_only_under_a_running_gateway_loses_no_reading(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image = an_image(tmp_path / "image")
    async with a_disk_rig(tmp_path, tmp_path / "disk" / "data", capsys) as rig:
        with mounted(image, tmp_path / "disk") as disk:
            await rig.start()
            await rig.measure(20)
            await rig.all_arrives()
            disk.break_down()
            await rig.measure(50)
            await rig.measure(3, spo2_pct=80.0)
            await eventually(lambda: failing(rig))
            await eventually(lambda: alarmed(rig))
            await asyncio.to_thread(rig.gateway.kill)
        with mounted(image, tmp_path / "disk"):
            await rig.start()
            await rig.all_arrives()
            await asyncio.to_thread(rig.gateway.stop)


async def test_file_corrupted_under_a_running_gateway_is_set_aside_and_reported_to_the_cloud(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "data"
    async with a_disk_rig(tmp_path, data, capsys) as rig:
        await rig.start()
        await rig.measure(500)
        await rig.all_arrives()
        with closing(sqlite3.connect(data / "outbox.sqlite3")) as other:
            other.execute("INSERT INTO counters VALUES ('other', 1)")  # makes the gateway read the file again
            other.commit()
            other.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        with (data / "outbox.sqlite3").open("r+b") as file:
            size = file.seek(0, 2)
            file.seek(4096)
            file.write(random.Random(1).randbytes(size - 4096))
        await rig.measure(20)
        await eventually(lambda: list(data.glob("*.corrupt-*")))
        await rig.all_arrives()
        await eventually(lambda: rig.upstream.errors)
        assert "corrupt" in rig.upstream.errors[0]["reason"]
        assert rig.gateway.running


async def test_outbox_on_a_full_disk_opens_and_writes_later(tmp_path: Path) -> None:
    with a_small_disk(tmp_path / "disk") as disk:
        path = disk.path / "outbox.sqlite3"
        disk.fill()
        with Outbox(path) as outbox:
            assert outbox.trouble
            assert await outbox.counts() == OutboxCounts()
            assert await outbox.alarm_states() == {}
            waiting = outbox.append([a_row() for _ in range(50)])
            with pytest.raises(TimeoutError):
                waiting.result(1.5)
            disk.free()
            await asyncio.wait_for(asyncio.wrap_future(waiting), PATIENCE_S)
            assert await outbox.counts() == OutboxCounts(committed=50, pending=50)
            assert outbox.trouble == ""


async def test_outbox_on_a_read_only_disk_can_be_read(tmp_path: Path) -> None:
    with a_small_disk(tmp_path / "disk") as disk:
        path = disk.path / "outbox.sqlite3"
        with Outbox(path) as outbox:
            await outbox.keep_alarm_state("child:a", "{}")
            await outbox.save_address("ble-001", "F0:1B:DC:4B:00:01")
        disk.remount("ro")
        with Outbox(path) as outbox:
            assert await outbox.alarm_states() == {"child:a": "{}"}
            assert await outbox.addresses() == {"ble-001": "F0:1B:DC:4B:00:01"}
            waiting = outbox.append([a_row()])
            await eventually(lambda: "readonly" in outbox.trouble or "unable to open" in outbox.trouble)
            disk.remount("rw")
            await asyncio.wait_for(asyncio.wrap_future(waiting), PATIENCE_S)


async def test_corrupt_file_on_a_read_only_disk_waits_until_it_can_be_set_aside(tmp_path: Path) -> None:
    with a_small_disk(tmp_path / "disk") as disk:
        path = disk.path / "outbox.sqlite3"
        path.write_bytes(b"no database" * 1000)
        disk.remount("ro")
        with Outbox(path) as outbox:
            assert outbox.trouble
            waiting = outbox.append([a_row()])
            with pytest.raises(TimeoutError):
                waiting.result(1.5)
            disk.remount("rw")
            await asyncio.wait_for(asyncio.wrap_future(waiting), PATIENCE_S)
            assert len(outbox.set_aside) == 1


async def test_directory_without_write_permission_is_an_error_with_its_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge_gateway.outbox.file.os.access", lambda *_: False)  # root may write anywhere
    with pytest.raises(OutboxUnavailable, match="correct its owner"):
        Outbox(tmp_path / "outbox.sqlite3").open()
