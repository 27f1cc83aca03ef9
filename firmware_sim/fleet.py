"""Bracelets that run side by side until stopped and are then drained. Wiring only."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from itertools import islice
from random import Random

from firmware_sim.device.simulated_device import (
    SimulatedBleBracelet,
    SimulatedDevice,
    SimulatedMqttBracelet,
)
from firmware_sim.device.simulated_standard_device import SimulatedStandardDevice
from firmware_sim.faults.injector import Injector
from firmware_sim.faults.scenario_file import Transport
from firmware_sim.firmware.bracelet import Bracelet, DeviceClock
from firmware_sim.mqtt.bracelet import MqttBracelet
from firmware_sim.physiology.body import Patient, patients
from firmware_sim.plan import FleetPlan
from firmware_sim.radio.hci_port import gateway_radio
from firmware_sim.radio.peripheral import BraceletPeripheral
from firmware_sim.radio.standard_device import DEVICE_CLASSES
from firmware_sim.radio.virtual_radio import VirtualController, VirtualLink
from firmware_sim.sent_readings import SentReadingsLog
from firmware_sim.timeline import Timeline

log = logging.getLogger(__name__)

_DRAIN_POLL_S = 0.2
_STANDARD_NUMBERS = 50_000
_CRYSTAL_PPM = 50.0
"""Largest error of a cheap clock crystal, parts per million."""


class Fleet:
    """All devices of one run."""

    def __init__(self, plan: FleetPlan, timeline: Timeline) -> None:
        self._plan, self._timeline = plan, timeline
        self._sent_readings = SentReadingsLog(plan.ledger)
        self.devices: list[SimulatedDevice] = []
        self._injector: Injector | None = None

    @property
    def measured(self) -> int:
        """Number of readings taken so far."""
        return self._sent_readings.count

    @property
    def pending(self) -> int:
        """Number of readings that have not been acknowledged."""
        return sum(device.pending for device in self.devices)

    def summary(self) -> str:
        """Return one line of progress."""
        connected = sum(device.connected for device in self.devices)
        summary = (
            f"{len(self.devices)} bracelets, {connected} connected, {self.measured} readings measured, "
            f"{self.pending} not acknowledged yet"
        )
        return f"{summary}, {self.faults.total()} faults injected" if self._plan.scenario else summary

    @property
    def faults(self) -> Counter[str]:
        """How often each kind of event of the scenario was injected."""
        return self._injector.injected if self._injector else Counter()

    async def run(self, stop: asyncio.Event, abort: asyncio.Event) -> None:
        """Measure until `stop` or the end of the duration, then drain until done, `abort` or the limit.

        Raises:
            HciPortBusy, UnknownTransport: the HCI port cannot be opened.
            InvalidScenario: the scenario does not fit these bracelets.
        """
        async with self._running_devices():
            tasks = [
                asyncio.create_task(self._measure(device, number / len(self.devices)), name=device.device_id)
                for number, device in enumerate(self.devices)
            ]
            stopping = asyncio.create_task(stop.wait())
            if self._injector:
                tasks.append(asyncio.create_task(self._injector.run(), name="scenario"))
            try:
                await asyncio.wait(
                    [stopping, *tasks], timeout=self._plan.duration_s, return_when=asyncio.FIRST_COMPLETED
                )
            finally:
                for task in (stopping, *tasks):
                    task.cancel()
                results = await asyncio.gather(*tasks, return_exceptions=True)
            for result in results:
                if isinstance(result, Exception):
                    raise result
            await self._drain(abort)

    async def _measure(self, device: SimulatedDevice, phase: float) -> None:
        """Take one reading per period; after the machine was suspended, skip the periods that passed."""
        period_ms = self._plan.period_s * 1000
        tick = phase
        while True:
            due = self._timeline.start_ms + round(tick * period_ms)
            if (wait := self._timeline.seconds_until(due)) > 0:
                await asyncio.sleep(wait)
            await device.measure(due)
            tick = max(tick + 1, (self._timeline.now_ms() - self._timeline.start_ms) // period_ms + phase)

    async def _drain(self, abort: asyncio.Event) -> None:
        deadline = asyncio.get_running_loop().time() + self._plan.drain_s
        while self.pending and not abort.is_set() and asyncio.get_running_loop().time() < deadline:
            with suppress(TimeoutError):
                await asyncio.wait_for(abort.wait(), _DRAIN_POLL_S)
        if self.pending:
            log.warning("%d readings were never acknowledged and are discarded", self.pending)

    @asynccontextmanager
    async def _running_devices(self) -> AsyncIterator[None]:
        children = patients()
        with self._sent_readings:
            async with AsyncExitStack() as stack:
                radio = None
                if self._plan.ble or self._plan.standard:
                    radio = await self._start_ble(stack, list(islice(children, self._plan.ble)))
                if self._plan.mqtt:
                    self._start_mqtt(stack, list(islice(children, self._plan.mqtt)))
                bracelets = {device.device_id: _transport(device) for device in self.devices}
                if radio:
                    wearers = list(islice(children, len(self._plan.standard)))
                    await self._start_standard(stack, radio[0], wearers)
                if scenario := self._plan.scenario:
                    events = scenario.occurrences(bracelets)
                    self._injector = Injector(events, self.devices, self._timeline, radio, self._plan.seed)
                yield

    async def _start_ble(
        self, stack: AsyncExitStack, children: Sequence[Patient]
    ) -> tuple[VirtualLink, VirtualController]:
        link = VirtualLink()
        gateway = await stack.enter_async_context(gateway_radio(link, self._plan.hci))
        for number, patient in enumerate(children, start=1):
            state = self._state(f"ble-{number:03d}", clock_set=False)  # the gateway sets it
            peripheral = BraceletPeripheral(
                link, number, state, self._timeline.now_ms, secure=self._plan.secure
            )
            peripheral.persist_bonds()
            await peripheral.start()
            stack.push_async_callback(peripheral.stop)
            self.devices.append(
                SimulatedBleBracelet(patient, self._plan.seed, peripheral, self._sent_readings)
            )
        return link, gateway

    async def _start_standard(
        self, stack: AsyncExitStack, link: VirtualLink, children: Sequence[Patient]
    ) -> None:
        for number, (kind, patient) in enumerate(zip(self._plan.standard, children, strict=True), start=1):
            device = DEVICE_CLASSES[kind](link, _STANDARD_NUMBERS + number, f"{number:03d}")
            await device.start()
            stack.push_async_callback(device.stop)
            log.info("%s advertises at %s", device.name, device.address)
            self.devices.append(SimulatedStandardDevice(patient, self._plan.seed, device))

    def _start_mqtt(self, stack: AsyncExitStack, children: Sequence[Patient]) -> None:
        for number, patient in enumerate(children, start=1):
            state = self._state(f"mqtt-{number:03d}", clock_set=True)  # set by the network
            client = MqttBracelet(state.device_id, self._plan.broker.host, self._plan.broker.port)
            client.start()
            stack.push_async_callback(client.stop)
            self.devices.append(
                SimulatedMqttBracelet(patient, self._plan.seed, state, client, self._sent_readings)
            )

    def _state(self, device_id: str, *, clock_set: bool) -> Bracelet:
        drift_ppm = self._plan.drift_ppm
        if drift_ppm is None:
            drift_ppm = Random(f"{self._plan.seed}/{device_id}/clock").uniform(-_CRYSTAL_PPM, _CRYSTAL_PPM)
        clock = DeviceClock(clock_set, drift_ppm=drift_ppm)
        return Bracelet(device_id, self._plan.boot, self._timeline.start_ms, clock=clock)


def _transport(bracelet: SimulatedDevice) -> Transport:
    return Transport.BLE if isinstance(bracelet, SimulatedBleBracelet) else Transport.MQTT
