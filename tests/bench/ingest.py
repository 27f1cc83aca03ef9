"""The ingestion API compared with a minimal app and its broker: cost, latency, an outage, memory, losses.

API, minimal app and broker are separate processes; the broker is the real one. CPU time is that of the
process, including all threads.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from threading import Event, Thread
from typing import NamedTuple
from uuid import UUID

import httpx
from confluent_kafka import Producer
from kafka import KafkaConsumer, TopicPartition
from pydantic_core import to_json

from cloud_ingest.kafka.admin import admin_client, create_topics
from cloud_ingest.kafka.producer import producer_settings
from deploy.local.kafka import KafkaBroker
from tests.bench.http_load import LoadConnection, flood, steady
from tests.cloud_ingest.running import environment
from tests.waiting import wait_until
from vitals.topics import DEVICE_STATUS, MEASUREMENTS

BATCH, CONNECTIONS = 100, 8
WARM_UP, ROUND, ROUNDS = 20_000, 40_000, 2
EARLY, LATE = 100_000, 1_000_000
SINGLES_PER_S, SINGLES = 500, 10_000
OUTAGE_ANSWERS = 100
CHILDREN = 200
_TICKS = os.sysconf("SC_CLK_TCK")
_API, _BARE = "/iot/measurements", "/readings"


def run() -> dict[str, float]:
    """Run the benchmark; the contract defines the names and goals."""
    with tempfile.TemporaryDirectory(prefix="kidjamo-bench-") as scratch:
        broker = KafkaBroker(Path(scratch) / "kafka", heap_mb=512)
        broker.start()
        try:
            create_topics(admin_client(broker.bootstrap), 20)
            return asyncio.run(_measure(Path(scratch), broker))
        finally:
            broker.stop()


class ServerUnderLoad(NamedTuple):
    """A server under load."""

    pid: int
    port: int

    def cpu_s(self) -> float:
        """Return the processor seconds it has used."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(") ")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS

    def rss_mb(self) -> float:
        """Return its resident memory, MB."""
        lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        return int(next(line.split()[1] for line in lines if line.startswith("VmRSS"))) / 1024


class Readings:
    """Source of readings with consecutive message ids, so that missing ones can be identified."""

    def __init__(self) -> None:
        self.created = 0

    def one(self) -> dict[str, object]:
        """Return a reading of one of two hundred children, with a signal."""
        self.created += 1
        child = self.created % CHILDREN
        return {
            "patient_id": f"patient-{child:04d}",
            "device_id": f"bracelet-{child:04d}",
            "timestamp": datetime.now(UTC).isoformat(),
            "message_id": str(UUID(int=self.created)),
            "seq": self.created,
            "gateway_id": "gw-bench",
            "source": "ble",
            "measurements": {"spo2_pct": 97.2, "freq_card": 92.0, "freq_resp": 18.0, "temp_corp": 36.8},
            "signal": {"contact": True, "motion": False, "battery_pct": 80},
        }

    def batches(self, readings: int) -> Iterator[bytes]:
        """Yield bodies of a hundred readings each."""
        for _ in range(readings // BATCH):
            yield to_json({"readings": [self.one() for _ in range(BATCH)]})

    def singles(self, readings: int) -> Iterator[bytes]:
        """Yield bodies of one reading each."""
        for _ in range(readings):
            yield to_json(self.one())


async def _measure(scratch: Path, broker: KafkaBroker) -> dict[str, float]:
    readings, for_bare = Readings(), Readings()
    with _api(scratch, broker.bootstrap) as api:
        figures = await _beside_bare(api, broker, readings, for_bare)
        figures |= await _memory(api, readings)
        figures |= await _singles(api, broker, readings)
        figures |= await _outage(api, broker, readings)
    found = await asyncio.to_thread(_arrived, broker.bootstrap, readings.created)
    figures["lost_readings"] = readings.created - found
    figures["readings"] = readings.created
    return figures


@contextmanager
def _api(scratch: Path, bootstrap: str) -> Iterator[ServerUnderLoad]:
    command = [sys.executable, "-m", "cloud_ingest.cli", "--log-level", "warning", "serve"]
    variables = environment(scratch, bootstrap)
    with subprocess.Popen(
        command, env={**os.environ, **variables}, cwd=scratch, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            yield ServerUnderLoad(process.pid, int(process.stdout.readline().rpartition(":")[2]))
        finally:
            process.terminate()


@contextmanager
def _bare(bootstrap: str) -> Iterator[ServerUnderLoad]:
    command = [sys.executable, "-m", "tests.bench.bare_app", bootstrap]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield ServerUnderLoad(process.pid, int(process.stdout.readline()))
        finally:
            process.terminate()


async def _beside_bare(
    api: ServerUnderLoad, broker: KafkaBroker, readings: Readings, for_bare: Readings
) -> dict[str, float]:
    """Send batches of a hundred over eight connections, alternating between the API and the minimal app."""
    api_us: list[float] = []
    bare_us: list[float] = []
    speeds: list[float] = []
    # the minimal app uses the API's topics, so its readings have ids in another range
    for_bare.created = 2**40
    with _bare(broker.bootstrap) as bare:
        await flood(api.port, _API, readings.batches(WARM_UP), CONNECTIONS)
        await flood(bare.port, _BARE, for_bare.batches(WARM_UP), CONNECTIONS)
        for _ in range(ROUNDS):
            before = api.cpu_s()
            speeds.append(ROUND / await flood(api.port, _API, readings.batches(ROUND), CONNECTIONS))
            api_us.append((api.cpu_s() - before) / ROUND * 1e6)
            before = bare.cpu_s()
            await flood(bare.port, _BARE, for_bare.batches(ROUND), CONNECTIONS)
            bare_us.append((bare.cpu_s() - before) / ROUND * 1e6)
    ours, theirs = statistics.mean(api_us), statistics.mean(bare_us)
    return {
        "batch_readings_per_s": round(statistics.mean(speeds)),
        "batch_readings_per_core_s": round(1e6 / ours),
        "cpu_us_per_reading": round(ours, 2),
        "bare_cpu_us_per_reading": round(theirs, 2),
        "cpu_ratio_to_bare": round(ours / theirs, 2),
    }


async def _memory(api: ServerUnderLoad, readings: Readings) -> dict[str, float]:
    """Measure memory after the first hundred thousand readings and after a million."""
    await flood(api.port, _API, readings.batches(max(0, EARLY - readings.created)), CONNECTIONS)
    early = api.rss_mb()
    await flood(api.port, _API, readings.batches(LATE - readings.created), CONNECTIONS)
    return {"rss_mb": round(api.rss_mb(), 1), "rss_growth_mb": round(api.rss_mb() - early, 1)}


async def _singles(api: ServerUnderLoad, broker: KafkaBroker, readings: Readings) -> dict[str, float]:
    """Send single readings at a steady rate, while a separate producer measures the broker."""
    stop, broker_s = Event(), list[float]()
    measuring = Thread(target=_measure_broker, args=(broker.bootstrap, stop, broker_s))
    measuring.start()
    waits = await steady(api.port, _API, readings.singles(SINGLES), SINGLES_PER_S, 32)
    stop.set()
    await asyncio.to_thread(measuring.join)
    ours, theirs = _ms(waits), _ms(broker_s)
    return {
        **{f"single_{name}_ms": value for name, value in ours.items()},
        **{f"broker_{name}_ms": value for name, value in theirs.items()},
        "single_p99_minus_broker_p99_ms": round(ours["p99"] - theirs["p99"], 2),
    }


def _measure_broker(bootstrap: str, stop: Event, seconds: list[float]) -> None:
    """Produce one record at a time with the API's producer settings, on a topic that is not counted."""
    producer = Producer(producer_settings(bootstrap))
    while not stop.wait(0.01):
        began = time.monotonic()
        producer.produce(DEVICE_STATUS, b"x" * 400, b"bench")
        producer.flush(10)
        seconds.append(time.monotonic() - began)


async def _outage(api: ServerUnderLoad, broker: KafkaBroker, readings: Readings) -> dict[str, float]:
    """Measure the response times of single readings while the broker is stopped and afterwards."""
    waits: list[float] = []
    async with LoadConnection(api.port, _API) as connection:
        for number, body in enumerate(readings.singles(OUTAGE_ANSWERS)):
            began = time.monotonic()
            if await connection.post(body) != 200:
                raise RuntimeError("not accepted during the outage")
            waits.append(time.monotonic() - began)
            if number == 4:
                await asyncio.to_thread(broker.stop)
            await asyncio.sleep(0.05)
    await asyncio.to_thread(broker.start)
    await asyncio.to_thread(_wait_for_replay, api)
    return {"outage_answer_p99_s": round(statistics.quantiles(waits, n=100)[98], 3)}


def _wait_for_replay(api: ServerUnderLoad) -> None:
    url = f"http://127.0.0.1:{api.port}/health"
    wait_until(lambda: httpx.get(url).json()["components"]["spool"]["pending"] == 0)


def _arrived(bootstrap: str, count: int, patience_s: float = 60) -> int:
    """Count the distinct readings on Kafka among the first `count`, with an independent client."""
    seen = bytearray(count + 1)
    consumer = KafkaConsumer(bootstrap_servers=bootstrap, enable_auto_commit=False, fetch_max_bytes=2**26)
    partitions = [TopicPartition(MEASUREMENTS, number) for number in range(3)]
    consumer.assign(partitions)
    consumer.seek_to_beginning(*partitions)
    deadline, found = time.monotonic() + patience_s, 0
    while found < count and time.monotonic() < deadline:
        for messages in consumer.poll(timeout_ms=500, max_records=20_000).values():
            deadline = time.monotonic() + patience_s
            for message in messages:
                number = UUID(message.value.partition(b'"message_id":"')[2][:36].decode()).int
                if number <= count and not seen[number]:
                    seen[number] = 1
                    found += 1
    consumer.close()
    return found


def _ms(seconds: list[float]) -> dict[str, float]:
    cuts = statistics.quantiles(seconds, n=100)
    return {f"p{share}": round(cuts[share - 1] * 1000, 2) for share in (50, 95, 99)}
