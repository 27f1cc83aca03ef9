"""Readings at a steady rate while Kafka, PostgreSQL, API and recorder fail: no accepted one may be lost.

Senders behave like gateways: a reading that was not answered with 200 is sent again under the same identity.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import tempfile
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import httpx
import psycopg2

from deploy.local.kafka import KafkaBroker
from deploy.local.ports import free_port
from deploy.local.postgres import Dsn, PostgresServer
from deploy.local.process import Service
from tests.cloud_ingest.running import environment
from tests.cloud_ingest.topic_reader import read_topic
from tests.waiting import wait_until
from vitals.topics import MEASUREMENTS

RATE = 500
OUTAGE_S, CALM_S = 60.0, 10.0
BATCH, SENDERS = 25, 4
_PATIENCE_S = 120.0


def run() -> dict[str, object]:
    """Run the test; the contract defines the names of the figures."""
    with tempfile.TemporaryDirectory(prefix="kidjamo-chaos-") as scratch:
        return asyncio.run(outages(Path(scratch), RATE, OUTAGE_S, CALM_S)).figures()


@dataclass
class OutageResult:
    """Result of the run.

    Attributes:
        accepted: ids of readings answered with 200.
        kafka, rows: ids on the topic (including duplicates) and in the table.
        faults: number of injected faults.
        slowest_s: duration of the slowest response with 200.
        reconciliation: response of `GET /reconciliation` at the end.
    """

    accepted: set[str] = field(default_factory=set)
    kafka: list[str] = field(default_factory=list)
    rows: list[str] = field(default_factory=list)
    faults: int = 0
    slowest_s: float = 0.0
    reconciliation: dict[str, object] = field(default_factory=dict)

    def figures(self) -> dict[str, object]:
        """Return the contract's figures, and the counts of each stage."""
        kafka, rows = set(self.kafka), set(self.rows)
        return {
            "lost": len(self.accepted - kafka) + len(self.accepted - rows),
            "duplicated": len(self.rows) - len(rows),
            "faults": self.faults,
            "accepted": len(self.accepted),
            "kafka_distinct": len(kafka),
            "kafka_copies": len(self.kafka) - len(kafka),
            "postgresql_rows": len(self.rows),
            "difference": self.reconciliation.get("difference"),
            "slowest_answer_s": round(self.slowest_s, 2),
        }


class IngestStack:
    """Broker, database, API and recorder, which can be stopped separately."""

    def __init__(self, directory: Path) -> None:
        self.kafka = KafkaBroker(directory / "kafka")
        self.postgres = PostgresServer(directory / "postgres")
        self.kafka.start()
        self.postgres.start()
        self.dsn: Dsn = self.postgres.database("kidjamo-db")
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        variables = environment(directory, self.kafka.bootstrap, **self.dsn.env()) | {"API_PORT": str(port)}
        command = [sys.executable, "-m", "cloud_ingest.cli"]
        self.api = Service("API", [*command, "serve"], log=directory / "api.log", env=variables)
        self.recorder = Service(
            "recorder", [*command, "recorder"], log=directory / "recorder.log", env=variables
        )
        self.api.start()
        self.recorder.start()
        self.api.wait_until(lambda: self.health().get("status") == "healthy", 60)

    def health(self) -> dict[str, object]:
        """Return the API's health; empty while it is down."""
        with contextlib.suppress(httpx.HTTPError):
            found: dict[str, object] = httpx.get(f"{self.url}/health", timeout=2).json()
            return found
        return {}

    def reconciliation(self) -> dict[str, object]:
        """Return the reconciliation; empty while the API is down."""
        with contextlib.suppress(httpx.HTTPError):
            found: dict[str, object] = httpx.get(f"{self.url}/reconciliation", timeout=10).json()
            return found
        return {}

    def rows(self) -> list[str]:
        """Return the ids in the table; empty while the database is down."""
        with (
            contextlib.suppress(psycopg2.Error),
            closing(self.dsn.connect()) as database,
            database.cursor() as cursor,
        ):
            cursor.execute("SELECT message_id::text FROM measurements")
            return [row[0] for row in cursor.fetchall()]
        return []

    def stop(self) -> None:
        """Stop all processes."""
        for service in (self.recorder, self.api, self.kafka, self.postgres):
            service.stop()


async def outages(directory: Path, rate: float, outage_s: float, calm_s: float) -> OutageResult:
    """Stop both servers in turn; kill both processes during the outages and between them."""
    system = await asyncio.to_thread(IngestStack, directory)
    result = OutageResult()
    try:
        async with _senders(system.url, rate, result):
            steps: tuple[tuple[Callable[[], None], float], ...] = (
                (system.kafka.stop, outage_s / 2),
                (lambda: _kill(system.api), outage_s / 2),
                (system.kafka.start, calm_s),
                (lambda: _kill(system.recorder), calm_s / 2),
                (lambda: _kill(system.api), calm_s / 2),
                (system.postgres.stop, outage_s / 2),
                (lambda: _kill(system.recorder), outage_s / 2),
                (system.postgres.start, calm_s),
            )
            await asyncio.sleep(calm_s)
            for step, pause_s in steps:
                await asyncio.to_thread(step)
                await asyncio.sleep(pause_s)
            result.faults = 6  # two outages, four kills
        await asyncio.to_thread(_drain, system, result)
    finally:
        await asyncio.to_thread(system.stop)
    return result


def _kill(service: Service) -> None:
    service.kill()
    service.start()


@contextlib.asynccontextmanager
async def _senders(url: str, rate: float, result: OutageResult) -> AsyncIterator[None]:
    """Send readings until the block ends, then until all of them are accepted."""
    waiting: deque[list[dict[str, object]]] = deque()
    stop = asyncio.Event()

    async def measure() -> None:
        began, created = time.monotonic(), 0
        while not stop.is_set():
            while created < (time.monotonic() - began) * rate:
                waiting.append([_reading() for _ in range(BATCH)])
                created += BATCH
            await asyncio.sleep(0.02)

    async def send(client: httpx.AsyncClient) -> None:
        while not stop.is_set() or waiting:
            if not waiting:
                await asyncio.sleep(0.02)
                continue
            batch = waiting.popleft()
            if not await _accepted(client, url, batch, result):
                waiting.append(batch)  # the same identities, later
                await asyncio.sleep(0.3)

    async with httpx.AsyncClient(timeout=10) as client, asyncio.TaskGroup() as group:
        group.create_task(measure())
        for _ in range(SENDERS):
            group.create_task(send(client))
        yield
        stop.set()


async def _accepted(
    client: httpx.AsyncClient, url: str, batch: list[dict[str, object]], result: OutageResult
) -> bool:
    began = time.monotonic()
    try:
        answer = await client.post(f"{url}/iot/measurements", json={"readings": batch})
    except httpx.HTTPError:
        return False
    if answer.status_code != 200:
        return False
    result.slowest_s = max(result.slowest_s, time.monotonic() - began)
    result.accepted.update(
        each["message_id"] for each in answer.json()["results"] if each["status"] == "accepted"
    )
    return True


def _reading() -> dict[str, object]:
    child = uuid4().int % 50
    return {
        "patient_id": f"patient-{child:02d}",
        "device_id": f"bracelet-{child:02d}",
        "timestamp": datetime.now(UTC).isoformat(),
        "message_id": str(uuid4()),
        "measurements": {"spo2_pct": 97.0, "freq_card": 92.0, "temp_corp": 36.8},
    }


def _drain(system: IngestStack, result: OutageResult) -> None:
    """Wait until the spool is empty and the recorder has caught up, then read every stage."""

    def settled() -> bool:
        result.reconciliation = system.reconciliation()
        return result.reconciliation.get("pending") == 0 and result.accepted <= set(system.rows())

    wait_until(settled, _PATIENCE_S)
    result.rows = system.rows()
    result.kafka = [
        str(each.value["message_id"]) for each in read_topic(system.kafka.bootstrap, MEASUREMENTS)
    ]
