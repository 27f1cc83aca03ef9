"""A gateway in its own process with a broker and an upstream, for benchmarks."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from deploy.local.mqtt import MqttBroker
from deploy.local.ports import free_port
from deploy.local.process import Service
from tests.link.upstream import Upstream, an_upstream
from vitals.topics import measurements_of

PATIENCE_S = 300.0


def a_reading(number: int, at: datetime, device_id: str = "mqtt-001") -> dict[str, Any]:
    """Return a reading as a bracelet sends it."""
    return {
        "patient_id": f"patient-of-{device_id}",
        "device_id": device_id,
        "timestamp": at.isoformat(),
        "message_id": str(uuid4()),
        "seq": number,
        "measurements": {"spo2_pct": 97.2, "freq_card": 82.0, "freq_resp": 18.0, "temp_corp": 36.8},
    }


class GatewayBench:
    """A broker, an upstream and a gateway."""

    def __init__(self, directory: Path, upstream: Upstream, broker: MqttBroker, more: str) -> None:
        self.upstream, self.port = upstream, broker.port
        self.page_url = f"http://127.0.0.1:{(port := free_port())}"
        config = directory / "gateway.toml"
        config.write_text(
            f'gateway_id = "gw-bench"\ndata_dir = "data"\naccept_unknown_mqtt = true\n'
            f'[api]\nurl = "{upstream.url}"\n'
            f'[mqtt]\nhost = "{broker.host}"\nport = {broker.port}\n[page]\nport = {port}\n{more}'
        )
        command = [sys.executable, "-m", "edge_gateway.cli", "run", "--config", str(config)]
        quiet = ["--log-level", "error"]
        self.gateway = Service("gateway", [*command, *quiet], log=directory / "gateway.log")
        self.client = paho.Client(CallbackAPIVersion.VERSION2, protocol=paho.MQTTv5)
        self.client.max_inflight_messages_set(1000)
        self.client.max_queued_messages_set(0)
        self.client.connect(broker.host, broker.port)
        self.client.loop_start()

    def publish(self, body: dict[str, Any]) -> str:
        """Send one reading; return its message id."""
        self.client.publish(measurements_of(body["device_id"]), json.dumps(body), qos=1)
        return str(body["message_id"])

    async def arrived(self, identities: set[str]) -> set[str]:
        """Wait until upstream has these readings; return the missing ones."""
        deadline = time.monotonic() + PATIENCE_S
        while missing := identities - self.upstream.accepted.keys():
            if time.monotonic() > deadline:
                break
            await asyncio.sleep(0.1)
        return missing

    async def up(self) -> None:
        """Wait until the gateway delivers readings; those sent before it subscribes are dropped."""
        deadline = time.monotonic() + PATIENCE_S
        while not self.upstream.accepted and time.monotonic() < deadline:
            self.publish(a_reading(0, datetime.now(UTC), "warm-up"))
            await asyncio.sleep(0.5)

    def written(self) -> int:
        """Return the bytes that the gateway has written to disk."""
        lines = Path(f"/proc/{self.gateway.pid}/io").read_text().splitlines()
        return int(next(line.split()[1] for line in lines if line.startswith("write_bytes")))

    def cpu_s(self) -> float:
        """Return the processor seconds that the gateway has used."""
        fields = Path(f"/proc/{self.gateway.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def resident_mb(self) -> float:
        """Return the resident memory of the gateway, MB."""
        lines = Path(f"/proc/{self.gateway.pid}/status").read_text().splitlines()
        return int(next(line.split()[1] for line in lines if line.startswith("VmRSS"))) / 1024


@asynccontextmanager
async def gateway_bench(
    directory: Path, more: str = "", *, start: bool = True
) -> AsyncIterator[GatewayBench]:
    (directory / "broker").mkdir()
    broker = MqttBroker(directory / "broker")
    await asyncio.to_thread(broker.start)
    try:
        async with an_upstream() as upstream:
            bench = GatewayBench(directory, upstream, broker, more)
            try:
                if start:
                    await asyncio.to_thread(bench.gateway.start)
                    await bench.up()
                yield bench
            finally:
                bench.client.loop_stop()
                await asyncio.to_thread(bench.gateway.stop)
    finally:
        await asyncio.to_thread(broker.stop)
