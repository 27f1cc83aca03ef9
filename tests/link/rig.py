"""Simulated bracelets in this process and the gateway in another, connected through HCI."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, closing, nullcontext
from dataclasses import dataclass
from pathlib import Path

from deploy.local.ports import free_port
from deploy.local.process import Service
from firmware_sim.device.simulated_device import SimulatedBleBracelet
from firmware_sim.faults.scenario_file import FaultScenario
from firmware_sim.fleet import Fleet
from firmware_sim.plan import Address, FleetPlan
from firmware_sim.radio.peripheral import BraceletPeripheral
from firmware_sim.timeline import Timeline
from tests.waiting import PATIENCE_S

SEED, BOOT = 7, 1
_NOWHERE = "http://127.0.0.1:9"
_NO_BROKER = Address("127.0.0.1", 1)
"""Nothing listens there: readings stay in the outbox, where they are counted."""


@dataclass(frozen=True, slots=True)
class OutboxReading:
    """A reading in the outbox.

    Attributes:
        live: notified when it was measured; if not, fetched from the bracelet's flash.
    """

    message_id: str
    device_id: str
    seq: int
    live: bool


@dataclass(frozen=True, slots=True)
class MeasuredReading:
    """A reading that a bracelet measured.

    Attributes:
        at: real time, seconds since 1970.
    """

    message_id: str
    device_id: str
    at: float


@dataclass(frozen=True, slots=True)
class LinkOutcome:
    """The readings that the bracelets measured and those in the gateway's outbox.

    Attributes:
        measured: in the order they were taken.
        kept: the outbox, in the order it was committed.
    """

    measured: tuple[MeasuredReading, ...]
    kept: tuple[OutboxReading, ...]

    @property
    def lost(self) -> int:
        """Number of measured readings that are not in the outbox."""
        return len({each.message_id for each in self.measured} - {kept.message_id for kept in self.kept})

    @property
    def duplicated(self) -> int:
        """Number of rows beyond one for each reading."""
        return len(self.kept) - len({kept.message_id for kept in self.kept})

    @property
    def out_of_order(self) -> int:
        """Number of rows after a later one of the same bracelet; live and fetched readings are separate.

        A live reading never waits for the backlog, so the two are two queues.
        """
        newest: dict[tuple[str, bool], int] = {}
        wrong = 0
        for kept in self.kept:
            queue = (kept.device_id, kept.live)
            wrong += kept.seq < newest.get(queue, -1)
            newest[queue] = max(kept.seq, newest.get(queue, -1))
        return wrong


class LinkRig:
    """A running fleet and a running gateway.

    Args:
        directory: for the gateway's data, the ledger and the logs.
        bracelets: how many.
        notes: where the gateway notes when each reading was judged.
        scenario: what befalls the bracelets.
        radio: the gateway's adapter; by default the simulated one.
        mqtt: number of additional MQTT bracelets, on `broker`.
        api: the gateway's API; by default none.
    """

    def __init__(
        self,
        directory: Path,
        bracelets: int,
        notes: Path | None = None,
        scenario: FaultScenario | None = None,
        radio: str | None = None,
        mqtt: int = 0,
        broker: Address = _NO_BROKER,
        api: str = _NOWHERE,
    ) -> None:
        self._directory = directory
        self._ledger = directory / "ledger.jsonl"
        port = self.hci_socket = directory / "hci"
        plan = FleetPlan(
            ble=bracelets,
            mqtt=mqtt,
            hci=f"unix-server:{port}",
            broker=broker,
            seed=SEED,
            boot=BOOT,
            period_s=1.0,
            duration_s=None,
            drain_s=60.0,
            ledger=self._ledger,
            scenario=scenario,
        )
        timeline = Timeline.begin(1.0, None)
        self.started_ms = timeline.start_ms
        self.fleet = Fleet(plan, timeline)
        self._bracelets = bracelets + mqtt
        self.config = directory / "gateway.toml"
        self.config.write_text(_config(radio or f"bumble:unix-client:{port}", bracelets, mqtt, broker, api))
        module = ["tests.link.timed_gateway", str(notes)] if notes else ["edge_gateway.cli"]
        command = [
            sys.executable,
            "-m",
            *module,
            "run",
            "--config",
            str(self.config),
            "--log-level",
            "warning",
        ]
        self.gateway = Service("gateway", command, log=directory / "gateway.log")

    @property
    def peripherals(self) -> list[BraceletPeripheral]:
        """The peripherals of the Bluetooth bracelets."""
        return [
            device.peripheral for device in self.fleet.devices if isinstance(device, SimulatedBleBracelet)
        ]

    async def on_the_air(self) -> None:
        """Wait until every bracelet is running."""
        await _until(lambda: len(self.fleet.devices) == self._bracelets)

    async def all_connected(self) -> None:
        """Wait until every bracelet was connected once, not necessarily all at the same time."""
        awaited = self.peripherals

        def each_was_held() -> bool:
            awaited[:] = [each for each in awaited if not each.connected]
            return not awaited

        await _until(each_was_held)

    @property
    def measured(self) -> tuple[MeasuredReading, ...]:
        """The readings measured so far."""
        lines = (json.loads(line) for line in self._ledger.read_text().splitlines())
        return tuple(
            MeasuredReading(line["message_id"], line["device_id"], line["noted_at"]) for line in lines
        )

    def outcome(self) -> LinkOutcome:
        """Return measured and stored readings, once the gateway has stopped."""
        return LinkOutcome(self.measured, tuple(_outbox(self._directory / "data" / "outbox.sqlite3")))


@asynccontextmanager
async def running(
    rig: LinkRig, stored: int = 0, plug: AbstractAsyncContextManager[object] | None = None
) -> AsyncIterator[None]:
    """Run bracelets and gateway; at the end the bracelets drain, then the gateway stops.

    Args:
        stored: readings that each bracelet measures before the gateway starts.
        plug: entered once the bracelets are on the air, left when the gateway has stopped.
    """
    stop, abort = asyncio.Event(), asyncio.Event()
    fleet = asyncio.create_task(rig.fleet.run(stop, abort))
    try:
        await rig.on_the_air()
        for peripheral in rig.peripherals if stored else ():
            peripheral.bracelet.clock.set_to(rig.started_ms, rig.started_ms)  # as an earlier gateway would
        for device in rig.fleet.devices:
            for number in range(stored):
                await device.measure(rig.started_ms - 1000 * (stored - number))
        async with plug or nullcontext():
            try:
                await asyncio.to_thread(rig.gateway.start)
                await rig.all_connected()
                yield
                stop.set()
                await fleet
            finally:
                await asyncio.to_thread(rig.gateway.stop)
    finally:
        abort.set()
        stop.set()
        await asyncio.gather(fleet, return_exceptions=True)


async def absence(peripheral: BraceletPeripheral, seconds: float) -> None:
    """Take a bracelet out of range: its link is lost, and it does not advertise for some seconds."""
    await peripheral.hide()
    peripheral.controller.lose_links()
    await asyncio.sleep(seconds)
    await peripheral.advertise()


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.05)


def _outbox(path: Path) -> Iterator[OutboxReading]:
    with closing(sqlite3.connect(path)) as database:
        for (body,) in database.execute("SELECT body FROM readings ORDER BY id"):
            reading = json.loads(body)
            live = "battery_pct" in reading.get("signal", {})  # records in flash do not contain the charge
            yield OutboxReading(reading["message_id"], reading["device_id"], reading["seq"], live)


def _config(radio: str, bracelets: int, mqtt: int, broker: Address, api: str) -> str:
    lines = [
        'gateway_id = "gw-link"',
        'data_dir = "data"',
        f"accept_unknown_mqtt = {'true' if mqtt else 'false'}",
        "[api]",
        f'url = "{api}"',
        "[ble]",
        f'radio = "{radio}"',
        f"max_links = {bracelets}",
        "connect_timeout_s = 5",
        "silence_s = 5",
        "[page]",
        f"port = {free_port()}",
    ]
    if mqtt:
        lines += ["[mqtt]", f'host = "{broker.host}"', f"port = {broker.port}"]
    for number in range(1, bracelets + 1):
        lines += ["[[bracelet]]", f'device_id = "ble-{number:03d}"', f'patient_id = "patient-{number:03d}"']
    return "\n".join(lines) + "\n"
