"""Bracelets that measure side by side until told to stop, and then drain. Wiring only."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from itertools import islice
from random import Random

from firmware_sim.device.simulated_device import SimulatedBleBracelet, SimulatedDevice, SimulatedMqttBracelet
from firmware_sim.device.simulated_standard_device import SimulatedStandardDevice
from firmware_sim.faults.injector import Injector
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

_LOOK_S = 0.2
_STANDARD_NUMBERS = 50_000
_CRYSTAL_PPM = 50.0
"""How much a cheap clock crystal is off, at most."""


class Fleet:
    """All bracelets of one run."""

    def __init__(self, plan: FleetPlan, timeline: Timeline) -> None:
        self._plan, self._timeline = plan, timeline
        self._ledger = SentReadingsLog(plan.ledger)
        self.worn: list[SimulatedDevice] = []
        self._injector: Injector | None = None

    @property
    def measured(self) -> int:
        """Readings taken so far."""
        return self._ledger.count

    @property
    def pending(self) -> int:
        """Readings nobody has confirmed yet."""
        return sum(worn.pending for worn in self.worn)

    def summary(self) -> str:
        """One line for a person."""
        connected = sum(worn.connected for worn in self.worn)
        told = (
            f"{len(self.worn)} bracelets, {connected} connected, {self.measured} readings measured, "
            f"{self.pending} not yet confirmed"
        )
        return f"{told}, {self.faults.total()} events of the scenario" if self._plan.scenario else told

    @property
    def faults(self) -> Counter[str]:
        """How often each kind of event of the scenario was carried out."""
        return self._injector.done if self._injector else Counter()

    async def run(self, stop: asyncio.Event, hurry: asyncio.Event) -> None:
        """Measure until `stop` or the end of the duration, then drain until done, `hurry` or the limit.

        Raises:
            PortBusy, UnknownTransport: the HCI port cannot be opened.
            InvalidScenario: the scenario cannot befall these bracelets.
        """
        async with self._on_the_air():
            measuring = [
                asyncio.create_task(self._measure(worn, number / len(self.worn)), name=worn.device_id)
                for number, worn in enumerate(self.worn)
            ]
            stopping = asyncio.create_task(stop.wait())
            if self._injector:
                measuring.append(asyncio.create_task(self._injector.run(), name="scenario"))
            try:
                await asyncio.wait(
                    [stopping, *measuring], timeout=self._plan.duration_s, return_when=asyncio.FIRST_COMPLETED
                )
            finally:
                for task in (stopping, *measuring):
                    task.cancel()
                outcomes = await asyncio.gather(*measuring, return_exceptions=True)
            for outcome in outcomes:
                if isinstance(outcome, Exception):
                    raise outcome
            await self._drain(hurry)

    async def _measure(self, worn: SimulatedDevice, phase: float) -> None:
        """One reading a period; after a pause of the machine it goes on, and does not catch up."""
        period_ms = self._plan.period_s * 1000
        tick = phase
        while True:
            due = self._timeline.start_ms + round(tick * period_ms)
            if (wait := self._timeline.seconds_until(due)) > 0:
                await asyncio.sleep(wait)
            await worn.measure(due)
            tick = max(tick + 1, (self._timeline.now_ms() - self._timeline.start_ms) // period_ms + phase)

    async def _drain(self, hurry: asyncio.Event) -> None:
        deadline = asyncio.get_running_loop().time() + self._plan.drain_s
        while self.pending and not hurry.is_set() and asyncio.get_running_loop().time() < deadline:
            with suppress(TimeoutError):
                await asyncio.wait_for(hurry.wait(), _LOOK_S)
        if self.pending:
            log.warning("%d readings are not confirmed by anyone and go with these bracelets", self.pending)

    @asynccontextmanager
    async def _on_the_air(self) -> AsyncIterator[None]:
        people = patients()
        with self._ledger:
            async with AsyncExitStack() as stack:
                air = None
                if self._plan.ble or self._plan.standard:
                    air = await self._put_ble(stack, list(islice(people, self._plan.ble)))
                if self._plan.mqtt:
                    self._put_mqtt(stack, list(islice(people, self._plan.mqtt)))
                bracelets = [worn.device_id for worn in self.worn]
                if air:
                    await self._put_standard(stack, air[0], list(islice(people, len(self._plan.standard))))
                if scenario := self._plan.scenario:
                    befalls = scenario.occurrences(bracelets)
                    self._injector = Injector(befalls, self.worn, self._timeline, air, self._plan.seed)
                yield

    async def _put_ble(
        self, stack: AsyncExitStack, wearers: Sequence[Patient]
    ) -> tuple[VirtualLink, VirtualController]:
        link = VirtualLink()
        radio = await stack.enter_async_context(gateway_radio(link, self._plan.hci))
        for number, patient in enumerate(wearers, start=1):
            state = self._state(f"ble-{number:03d}", clock_set=False)  # the gateway sets it
            peripheral = BraceletPeripheral(
                link, number, state, self._timeline.now_ms, secure=self._plan.secure
            )
            peripheral.keep_bonds()
            await peripheral.start()
            stack.push_async_callback(peripheral.stop)
            self.worn.append(SimulatedBleBracelet(patient, self._plan.seed, peripheral, self._ledger))
        return link, radio

    async def _put_standard(
        self, stack: AsyncExitStack, link: VirtualLink, wearers: Sequence[Patient]
    ) -> None:
        for number, (kind, patient) in enumerate(zip(self._plan.standard, wearers, strict=True), start=1):
            device = DEVICE_CLASSES[kind](link, _STANDARD_NUMBERS + number, f"{number:03d}")
            await device.start()
            stack.push_async_callback(device.stop)
            log.info("%s is on the air at %s", device.name, device.address)
            self.worn.append(SimulatedStandardDevice(patient, self._plan.seed, device))

    def _put_mqtt(self, stack: AsyncExitStack, wearers: Sequence[Patient]) -> None:
        for number, patient in enumerate(wearers, start=1):
            state = self._state(f"mqtt-{number:03d}", clock_set=True)  # by the network it sends over
            client = MqttBracelet(state.device_id, self._plan.broker.host, self._plan.broker.port)
            client.start()
            stack.push_async_callback(client.stop)
            self.worn.append(SimulatedMqttBracelet(patient, self._plan.seed, state, client, self._ledger))

    def _state(self, device_id: str, *, clock_set: bool) -> Bracelet:
        drift_ppm = self._plan.drift_ppm
        if drift_ppm is None:
            drift_ppm = Random(f"{self._plan.seed}/{device_id}/clock").uniform(-_CRYSTAL_PPM, _CRYSTAL_PPM)
        start_ms = self._timeline.start_ms
        return Bracelet(
            device_id, self._plan.boot, start_ms, clock=DeviceClock(clock_set, drift_ppm=drift_ppm)
        )
