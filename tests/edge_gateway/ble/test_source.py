"""The Bluetooth source with bleak and a real ATT stack over a simulated radio."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from edge_gateway.alarms.evaluator import AlarmEvaluator
from edge_gateway.ble import session
from edge_gateway.ble.adapter import Adapter, open_radio
from edge_gateway.ble.advertisements import Advertisement
from edge_gateway.ble.source import BleSource
from edge_gateway.config import ApiConfig, BleConfig
from edge_gateway.errors import RadioUnavailable
from edge_gateway.intake import Intake
from edge_gateway.outbox.outbox import Outbox
from edge_gateway.state import GatewayState
from edge_gateway.uplink.client import ApiClient
from edge_gateway.uplink.uplink import Uplink
from firmware_sim.radio.peripheral import BraceletPeripheral
from tests.firmware_sim.air import Air, calm, now_ms
from tests.firmware_sim.conftest import air
from tests.waiting import PATIENCE_S, eventually
from vitals.reading import derived_message_id

__all__ = ["air"]


@pytest.fixture(autouse=True)
def _hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "_RELEASE_EVERY_S", 0.1)


class BleSourceRig:
    """A Bluetooth source, its intake and a real outbox."""

    def __init__(self, outbox: Outbox, devices: int, **ble: Any) -> None:
        self.outbox, self.state = outbox, GatewayState("gw")
        patients = {f"ble-{n:03d}": f"patient-{n:03d}" for n in range(1, devices + 1)}
        self.source = BleSource(BleConfig(**ble), patients, {}, outbox, self.state)
        api = ApiClient(ApiConfig(url="http://127.0.0.1:1"))
        alarms = AlarmEvaluator([], self.state.counters)
        self.intake = Intake("gw", alarms, outbox, Uplink(api, outbox, self.state, 100), self.state)

    def state_of(self, device_id: str = "ble-001") -> str:
        link = self.state.links.get(device_id)
        return link.state if link else ""

    async def kept(self) -> list[str]:
        return [entry.identity for entry in await self.outbox.peek_live(0, 100_000)]


@asynccontextmanager
async def a_rig(path: Path, devices: int = 1, **ble: Any) -> AsyncIterator[BleSourceRig]:
    with Outbox(path / "outbox.sqlite3") as outbox:
        rig = BleSourceRig(outbox, devices, **ble)
        tasks = [asyncio.create_task(rig.source.run()), asyncio.create_task(rig.intake.serve(rig.source))]
        try:
            yield rig
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await rig.intake.drained()


class MeasuredRecords:
    """Takes measurements on a bracelet and keeps the identity of each record."""

    def __init__(self) -> None:
        self.identities: list[str] = []

    async def measure(self, peripheral: BraceletPeripheral, count: int = 1) -> None:
        for _ in range(count):
            record = peripheral.bracelet.measure(calm(len(self.identities)), now_ms())
            device = peripheral.bracelet.device_id
            identity = derived_message_id(device, record.boot, record.seq, record.device_time_ms)
            self.identities.append(str(identity))
            await peripheral.publish(record)
            await asyncio.sleep(0.002)


async def test_bracelet_is_found_and_its_stored_and_live_records_arrive(air: Air, tmp_path: Path) -> None:
    bracelet = await air.add(stored=30)
    measured = MeasuredRecords()
    async with a_rig(tmp_path) as rig:
        await eventually(lambda: rig.state_of() == "live")
        await measured.measure(bracelet, 5)
        await eventually(lambda: bracelet.bracelet.unreleased == 0)
        kept = await rig.kept()
        assert len(kept) == 35
        assert kept[-5:] == measured.identities
        assert rig.state.links["ble-001"].battery_pct == 100


async def test_smallest_mtu_is_enough(air: Air, tmp_path: Path) -> None:
    bracelet = await air.add(stored=3, mtu=23)
    async with a_rig(tmp_path) as rig:
        await eventually(lambda: bracelet.bracelet.unreleased == 0)
        assert len(await rig.kept()) == 3


async def test_link_lost_and_found_again_loses_no_record(air: Air, tmp_path: Path) -> None:
    bracelet = await air.add()
    measured = MeasuredRecords()
    async with a_rig(tmp_path) as rig:
        for _ in range(3):
            await eventually(lambda: rig.state_of() == "live")
            await measured.measure(bracelet, 5)
            await bracelet.disconnect()
            await eventually(lambda: rig.state_of() != "live")
            await measured.measure(bracelet, 5)
        await eventually(lambda: bracelet.bracelet.unreleased == 0)
        assert sorted(await rig.kept()) == sorted(measured.identities)


async def test_three_bracelets_are_held_at_once(air: Air, tmp_path: Path) -> None:
    bracelets = [await air.add(stored=5) for _ in range(3)]
    async with a_rig(tmp_path, 3) as rig:
        await eventually(lambda: [link.state for link in rig.state.links.values()] == 3 * ["live"])
        await eventually(lambda: all(each.bracelet.unreleased == 0 for each in bracelets))
        assert len(await rig.kept()) == 15


async def test_bracelet_without_a_slot_is_shown_as_waiting_and_gets_the_next(
    air: Air, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    bracelets = [await air.add(stored=1) for _ in range(2)]
    async with a_rig(tmp_path, 2, max_links=1) as rig:
        waiting = "waiting for a slot"
        await eventually(lambda: sorted(link.state for link in rig.state.links.values()) == ["live", waiting])
        assert "all links of the adapter are taken" in caplog.text
        held = next(each for each in bracelets if rig.state_of(each.bracelet.device_id) == "live")
        await held.disconnect()
        other = next(each for each in bracelets if each is not held)
        await eventually(lambda: rig.state_of(other.bracelet.device_id) == "live")


async def test_silent_bracelet_is_disconnected_and_connected_again(air: Air, tmp_path: Path) -> None:
    bracelet = await air.add(stored=1)
    async with a_rig(tmp_path, silence_s=1.0) as rig:
        await eventually(lambda: rig.state_of() == "live")
        await eventually(lambda: "silent" in rig.state.links["ble-001"].reason)
        await eventually(lambda: rig.state_of() == "live")
        assert bracelet.connected


async def test_restarted_gateway_fetches_only_what_is_new(air: Air, tmp_path: Path) -> None:
    bracelet = await air.add(stored=10)
    async with a_rig(tmp_path):
        await eventually(lambda: bracelet.bracelet.unreleased == 0)
    measured = MeasuredRecords()
    await measured.measure(bracelet, 4)
    async with a_rig(tmp_path) as rig:
        await eventually(lambda: bracelet.bracelet.unreleased == 0)
        assert (await rig.kept())[10:] == measured.identities
        assert rig.state.counters.received["ble"] == 4
        assert rig.state.counters.records_missing == 0


async def test_bracelet_that_is_not_listed_is_not_connected_and_logged_once(
    air: Air, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    await air.add(stored=1)
    stranger = await air.add(stored=1)
    async with a_rig(tmp_path, 1) as rig:
        await eventually(lambda: rig.state_of() == "live")
        await eventually(lambda: "ble-002" in caplog.text)
        await asyncio.sleep(0.5)
        assert caplog.text.count("'ble-002' is on the air") == 1
        assert not stranger.connected
        assert "ble-002" not in rig.state.links


async def test_unavailable_radio_at_start_is_a_state(tmp_path: Path) -> None:
    async with a_rig(tmp_path, radio="bumble:tcp-client:127.0.0.1:9") as rig:
        await eventually(lambda: rig.state.parts.get("radio", "").startswith("away: "))
        assert rig.state_of() == "searching"


@pytest.mark.parametrize("steps", range(12))
async def test_radio_that_is_being_opened_can_be_stopped(air: Air, steps: int) -> None:
    """The library that closes stale links swallows a cancellation."""
    adapter = Adapter("system", lambda _: None, lambda: False, lambda _: None)
    running = asyncio.create_task(adapter.run(["F0:1B:DC:4B:00:01"]))
    for _ in range(steps):
        await asyncio.sleep(0)
    running.cancel()
    done, _ = await asyncio.wait([running], timeout=PATIENCE_S)
    assert done


@pytest.mark.parametrize("steps", range(12))
async def test_cancelled_attempt_leaves_the_scanner_running(air: Air, steps: int) -> None:
    seen: list[Advertisement] = []
    adapter = Adapter("system", seen.append, lambda: False, lambda _: None)
    running = asyncio.create_task(adapter.run())
    await air.add()
    await eventually(lambda: seen)

    async def attempt() -> None:
        async with adapter.connecting():
            await asyncio.sleep(0.002)

    cancelled = asyncio.create_task(attempt())
    for _ in range(steps):
        await asyncio.sleep(0)
    cancelled.cancel()
    await asyncio.wait([cancelled])
    seen.clear()
    await eventually(lambda: seen)
    running.cancel()
    await asyncio.wait([running])


def test_unknown_radio_plug_in_is_named() -> None:
    with pytest.raises(RadioUnavailable, match=r'no radio plug-in "zigbee" is installed \(found: bumble'):
        open_radio("zigbee:somewhere")
