"""Serves the page on loopback with its real server, outbox and monitor."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest

from edge_gateway.alarms import technical_conditions
from edge_gateway.alarms.monitor import AlarmMonitor
from edge_gateway.config import PageConfig
from edge_gateway.outbox.outbox import Outbox
from edge_gateway.page.access import Access
from edge_gateway.page.app import Page
from edge_gateway.page.server import listen, serve
from edge_gateway.state import GatewayState
from vitals.conditions import Condition
from vitals.reading import Measurements, Reading, Signal
from vitals.rules import records

NAMES = {"patient-001-ss": "Awa", "patient-002-as": "Moussa", "patient-003-sc": "Fatou"}
DEVICES = {"bracelet-1": "patient-001-ss", "bracelet-2": "patient-002-as", "bracelet-3": "patient-003-sc"}
PIN = "4711"


class ServedPage:
    """A served page.

    Attributes:
        failures: errors that the self-test returns, by contact.
        outbox_trouble: why the outbox cannot write; empty while it can.
    """

    def __init__(self, outbox: Outbox, pin: str | None) -> None:
        self.outbox, self.state = outbox, GatewayState("gw-test")
        self.failures: dict[str, str] = {}
        self.outbox_trouble = ""
        self.monitor = AlarmMonitor("gw-test", NAMES, DEVICES, outbox, self._conditions)
        self.access = Access(b"k" * 32, pin)
        self.page = Page(
            self.monitor,
            self.state,
            audit_log=outbox,
            outbox_counts=outbox.counts,
            access=self.access,
            language="fr",
            self_test=self._self_test,
            stopping=asyncio.Event(),
        )
        self.url = ""

    def measure(
        self,
        patient: int = 1,
        *,
        spo2: float = 97.0,
        heart_rate: float = 82.0,
        temperature: float = 36.8,
        age: timedelta = timedelta(),
        signal: Signal | None = None,
    ) -> None:
        device_id = f"bracelet-{patient}"
        values = {"spo2_pct": spo2, "freq_card": heart_rate, "freq_resp": 18.0, "temp_corp": temperature}
        reading = Reading(
            patient_id=DEVICES[device_id],
            device_id=device_id,
            timestamp=datetime.now(UTC) - age,
            measurements=Measurements(**values),
            message_id=uuid4(),
            signal=signal,
        )
        assert reading.message_id
        self.monitor.observe(reading, records(reading, reading.message_id))

    def _conditions(self, _monitor: AlarmMonitor, now: datetime) -> Iterator[Condition]:
        health = technical_conditions.GatewayHealth(
            uplink_down_since=self.state.undelivered_since, outbox_trouble=self.outbox_trouble
        )
        yield from technical_conditions.of_gateway(health, now)

    async def _self_test(self) -> dict[str, str]:
        return self.failures

    async def audited(self) -> list[tuple[str, str, str]]:
        return await self.outbox._ask(
            lambda db: db.execute("SELECT who, action, detail FROM audit ORDER BY id").fetchall()
        )


Serving = Callable[..., AbstractAsyncContextManager[ServedPage]]


@pytest.fixture
def serving(tmp_path: Path) -> Serving:
    """Return a context manager that serves the page, optionally with a PIN and TLS (certificate, key)."""

    @asynccontextmanager
    async def start(
        pin: str | None = None, tls: tuple[Path, Path] | None = None
    ) -> AsyncIterator[ServedPage]:
        certificate_file, key_file = tls or (None, None)
        config = PageConfig.model_construct(
            host="127.0.0.1", port=0, pin_file=None, certificate_file=certificate_file, key_file=key_file
        )
        with Outbox(tmp_path / "outbox.sqlite3") as outbox, listen(config) as listening:
            served = ServedPage(outbox, pin)
            await served.monitor.load()
            served.url = f"{config.scheme}://127.0.0.1:{listening.getsockname()[1]}"
            tasks = [
                asyncio.create_task(serve(served.page, config, listening)),
                asyncio.create_task(served.monitor.run()),
            ]
            try:
                yield served
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)

    return start
