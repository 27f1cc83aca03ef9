"""Lets a scenario befall a fleet: each event in its time, on the bracelet it is for."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from random import Random

from firmware_sim.device.simulated_device import SimulatedBleBracelet, SimulatedDevice, SimulatedMqttBracelet
from firmware_sim.faults.active_faults import ActiveFaults, at_once
from firmware_sim.faults.ble_faults import BleFaults
from firmware_sim.faults.mqtt_faults import MqttFaults
from firmware_sim.faults.scenario_file import EventKind, Occurrence
from firmware_sim.firmware.bracelet import Bracelet, DeviceClock
from firmware_sim.radio.virtual_radio import VirtualController, VirtualLink
from firmware_sim.timeline import Timeline

log = logging.getLogger(__name__)

_RESTARTS = (EventKind.REBOOT, EventKind.RESET)


class Injector:
    """Faults and circumstances of one fleet.

    Args:
        occurrences: what befalls whom, in order of time.
        worn: the bracelets.
        timeline: the simulated clock.
        air: link and the gateway's radio, where there is Bluetooth.
        seed: of what is random.

    Attributes:
        done: how often each kind was carried out.
    """

    def __init__(
        self,
        occurrences: Iterator[Occurrence],
        worn: Sequence[SimulatedDevice],
        timeline: Timeline,
        air: tuple[VirtualLink, VirtualController] | None,
        seed: int,
    ) -> None:
        self._occurrences, self._timeline = occurrences, timeline
        self._worn = {each.device_id: each for each in worn}
        self._conditions, random = ActiveFaults(), Random(f"{seed}/faults")
        self._ble = BleFaults(*air, timeline, self._conditions, random) if air else None
        self._mqtt = MqttFaults(timeline, self._conditions, random)
        self.done: Counter[str] = Counter()

    async def run(self) -> None:
        """Carry out all there is, until cancelled; what lasts ends then, too."""
        try:
            async with asyncio.TaskGroup() as lasting:
                for occurrence in self._occurrences:
                    due = self._timeline.start_ms + round(occurrence.at_s * 1000)
                    await asyncio.sleep(max(0.0, self._timeline.seconds_until(due)))
                    lasting.create_task(self._inject(occurrence))
                await asyncio.get_running_loop().create_future()
        finally:
            for worn in self._worn.values():
                if isinstance(worn, SimulatedMqttBracelet):
                    worn.send_held()

    async def _inject(self, what: Occurrence) -> None:
        worn = self._worn[what.device_id]
        if not isinstance(worn, SimulatedBleBracelet | SimulatedMqttBracelet):
            return
        bracelet = worn.peripheral.bracelet if isinstance(worn, SimulatedBleBracelet) else worn.state
        if what.kind in _RESTARTS and not bracelet.on:
            return  # it has no power to restart with
        log.info("%s: %s", what.device_id, what.kind.value)
        self.done[what.kind.value] += 1
        if await self._wear(worn, bracelet, what):
            return
        if isinstance(worn, SimulatedMqttBracelet):
            await self._mqtt.inject(worn, what)
        elif self._ble:
            await self._ble.inject(worn, what)

    async def _wear(
        self, worn: SimulatedBleBracelet | SimulatedMqttBracelet, bracelet: Bracelet, what: Occurrence
    ) -> bool:
        """What befalls sensors, clock and records, whatever carries them; False where it is none of that."""
        match what.kind:
            case EventKind.DUPLICATE:
                worn.duplicate += round(what.value)
            case EventKind.REORDER:
                worn.reorder += round(what.value)
            case EventKind.TAKEN_OFF:
                off = at_once(lambda: setattr(bracelet, "worn", False))
                on = at_once(lambda: setattr(bracelet, "worn", True))
                async with self._conditions.hold(what.device_id, "taken off", off, on):
                    await self._timeline.pass_by(what.for_s)
            case EventKind.MOTION:
                with self._conditions.level(
                    what.device_id, "motion", 1, lambda all_: setattr(worn, "motion", len(all_))
                ):
                    await self._timeline.pass_by(what.for_s)
            case EventKind.LOW_PERFUSION:
                with self._conditions.level(
                    what.device_id, "perfusion", 1, lambda all_: setattr(worn, "low_perfusion", len(all_))
                ):
                    await self._timeline.pass_by(what.for_s)
            case EventKind.CLOCK_WRONG:
                now = self._timeline.now_ms()
                bracelet.clock.set_to(now + round(what.value * 1000), now)
            case EventKind.CLOCK_UNSET:
                bracelet.clock = DeviceClock(is_set=False, drift_ppm=bracelet.clock.drift_ppm)
            case EventKind.BATTERY if what.value > 0:
                bracelet.charge(what.value, self._timeline.now_ms())
            case _:
                return False
        return True
