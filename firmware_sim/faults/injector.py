"""Injection of a scenario's faults into a fleet: each event at its time, into its bracelet."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from random import Random

from firmware_sim.device.simulated_device import (
    SimulatedBleBracelet,
    SimulatedDevice,
    SimulatedMqttBracelet,
)
from firmware_sim.faults.active_faults import ActiveFaults, as_step
from firmware_sim.faults.ble_faults import BleFaults
from firmware_sim.faults.mqtt_faults import MqttFaults
from firmware_sim.faults.scenario_file import EventKind, Occurrence
from firmware_sim.firmware.bracelet import Bracelet, DeviceClock
from firmware_sim.radio.virtual_radio import VirtualController, VirtualLink
from firmware_sim.timeline import Timeline

log = logging.getLogger(__name__)

_RESTARTS = (EventKind.REBOOT, EventKind.RESET)


class Injector:
    """Injector of faults into one fleet.

    Args:
        occurrences: the events, in order of time.
        devices: the fleet.
        timeline: the simulated clock.
        radio: the radio link and the gateway's controller; None without Bluetooth.
        seed: seed of everything random.

    Attributes:
        injected: how often each kind of event was injected.
    """

    def __init__(
        self,
        occurrences: Iterator[Occurrence],
        devices: Sequence[SimulatedDevice],
        timeline: Timeline,
        radio: tuple[VirtualLink, VirtualController] | None,
        seed: int,
    ) -> None:
        self._occurrences, self._timeline = occurrences, timeline
        self._devices = {device.device_id: device for device in devices}
        self._active, random = ActiveFaults(), Random(f"{seed}/faults")
        self._ble = BleFaults(*radio, timeline, self._active, random) if radio else None
        self._mqtt = MqttFaults(timeline, self._active, random)
        self.injected: Counter[str] = Counter()

    async def run(self) -> None:
        """Inject all events until cancelled; cancelling also ends the faults that last."""
        try:
            async with asyncio.TaskGroup() as faults:
                for occurrence in self._occurrences:
                    due = self._timeline.start_ms + round(occurrence.at_s * 1000)
                    await asyncio.sleep(max(0.0, self._timeline.seconds_until(due)))
                    faults.create_task(self._inject(occurrence))
                await asyncio.get_running_loop().create_future()
        finally:
            for device in self._devices.values():
                if isinstance(device, SimulatedMqttBracelet):
                    device.publish_delayed()

    async def _inject(self, event: Occurrence) -> None:
        device = self._devices[event.device_id]
        if not isinstance(device, SimulatedBleBracelet | SimulatedMqttBracelet):
            return
        bracelet = device.peripheral.bracelet if isinstance(device, SimulatedBleBracelet) else device.state
        if event.kind in _RESTARTS and not bracelet.on:
            return  # it has no power to restart with
        log.info("%s: %s", event.device_id, event.kind.value)
        self.injected[event.kind.value] += 1
        if await self._inject_into_firmware(device, bracelet, event):
            return
        if isinstance(device, SimulatedMqttBracelet):
            await self._mqtt.inject(device, event)
        elif self._ble:
            await self._ble.inject(device, event)

    async def _inject_into_firmware(
        self, device: SimulatedBleBracelet | SimulatedMqttBracelet, bracelet: Bracelet, event: Occurrence
    ) -> bool:
        """Inject a fault of sensors, clock or records; return False if the event is of another kind."""
        match event.kind:
            case EventKind.DUPLICATE:
                device.duplicate += round(event.value)
            case EventKind.REORDER:
                device.reorder += round(event.value)
            case EventKind.TAKEN_OFF:
                take_off = as_step(lambda: setattr(bracelet, "worn", False))
                put_on = as_step(lambda: setattr(bracelet, "worn", True))
                async with self._active.active(event.device_id, "taken off", take_off, put_on):
                    await self._timeline.sleep(event.for_s)
            case EventKind.MOTION:
                with self._active.level(
                    event.device_id, "motion", 1, lambda levels: setattr(device, "motion", len(levels))
                ):
                    await self._timeline.sleep(event.for_s)
            case EventKind.LOW_PERFUSION:
                with self._active.level(
                    event.device_id,
                    "perfusion",
                    1,
                    lambda levels: setattr(device, "low_perfusion", len(levels)),
                ):
                    await self._timeline.sleep(event.for_s)
            case EventKind.CLOCK_WRONG:
                now = self._timeline.now_ms()
                bracelet.clock.set_to(now + round(event.value * 1000), now)
            case EventKind.CLOCK_UNSET:
                bracelet.clock = DeviceClock(is_set=False, drift_ppm=bracelet.clock.drift_ppm)
            case EventKind.BATTERY if event.value > 0:
                bracelet.set_charge(event.value, self._timeline.now_ms())
            case _:
                return False
        return True
