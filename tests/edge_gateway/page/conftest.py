"""The page on loopback, served by its real server, above a real outbox and a ward."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest

from edge_gateway.alarms import technical_conditions
from edge_gateway.alarms.monitor import Ward
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


class Served:
    """A page that is being served.

    Attributes:
        failures: what the self-test finds, by contact.
        outbox_trouble: why the disk takes nothing; empty while it does.
    """

    def __init__(self, outbox: Outbox, pin: str | None) -> None:
        self.outbox, self.state = outbox, GatewayState("gw-test")
        self.failures: dict[str, str] = {}
        self.outbox_trouble = ""
        self.ward = Ward("gw-test", NAMES, DEVICES, outbox, self._conditions)
        self.access = Access(b"k" * 32, pin)
        self.page = Page(self.ward, self.state, outbox, self.access, "fr", self._self_test, asyncio.Event())
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
        self.ward.observe(reading, records(reading, reading.message_id))

    def _conditions(self, _ward: Ward, now: datetime) -> Iterator[Condition]:
        parts = technical_conditions.Parts(
            uplink_down_since=self.state.undelivered_since, outbox_trouble=self.outbox_trouble
        )
        yield from technical_conditions.of_gateway(parts, now)

    async def _self_test(self) -> dict[str, str]:
        return self.failures

    async def audited(self) -> list[tuple[str, str, str]]:
        return await self.outbox._ask(
            lambda db: db.execute("SELECT who, action, detail FROM audit ORDER BY id").fetchall()
        )


Serving = Callable[..., AbstractAsyncContextManager[Served]]


@pytest.fixture
def serving(tmp_path: Path) -> Serving:
    """Serve the page inside; `pin=None` needs none, `tls` is a certificate and its key."""

    @asynccontextmanager
    async def start(pin: str | None = None, tls: tuple[Path, Path] | None = None) -> AsyncIterator[Served]:
        certificate_file, key_file = tls or (None, None)
        config = PageConfig.model_construct(
            host="127.0.0.1", port=0, pin_file=None, certificate_file=certificate_file, key_file=key_file
        )
        with Outbox(tmp_path / "outbox.sqlite3") as outbox, listen(config) as listening:
            served = Served(outbox, pin)
            await served.ward.recall()
            served.url = f"{config.scheme}://127.0.0.1:{listening.getsockname()[1]}"
            tasks = [
                asyncio.create_task(serve(served.page, config, listening)),
                asyncio.create_task(served.ward.run()),
            ]
            try:
                yield served
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)

    return start
