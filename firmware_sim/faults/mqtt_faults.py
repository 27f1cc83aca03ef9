"""Faults of an MQTT bracelet: offline, without power, or sending random bytes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random

from firmware_sim.device.simulated_device import SimulatedMqttBracelet
from firmware_sim.faults.active_faults import ActiveFaults, as_step
from firmware_sim.faults.scenario_file import EventKind, Occurrence
from firmware_sim.timeline import Timeline

_GARBAGE_BYTES = 24


class MqttFaults:
    """Injector of events into MQTT bracelets.

    Args:
        timeline: the simulated clock.
        active: faults active in the fleet.
        random: source of random bytes.
    """

    def __init__(self, timeline: Timeline, active: ActiveFaults, random: Random) -> None:
        self._timeline, self._active, self._random = timeline, active, random

    async def inject(self, device: SimulatedMqttBracelet, event: Occurrence) -> None:
        """Inject one event; return when it is over."""
        match event.kind:
            case EventKind.OUT_OF_RANGE:
                async with self._offline(device):
                    await self._timeline.sleep(event.for_s)
            case EventKind.GARBAGE:
                for _ in range(round(event.value)):
                    device.client.send(self._random.randbytes(_GARBAGE_BYTES))
            case EventKind.BATTERY:
                await self._empty_battery(device, event)
            case EventKind.REBOOT | EventKind.RESET:
                flash_kept = event.kind is EventKind.REBOOT
                async with self._offline(device):
                    if not flash_kept:
                        device.discard_unsent()
                    device.state.restart(self._timeline.now_ms(), flash_kept=flash_kept)

    @asynccontextmanager
    async def _offline(self, device: SimulatedMqttBracelet) -> AsyncIterator[None]:
        go_online = as_step(device.client.go_online)
        async with self._active.active(device.device_id, "offline", device.client.go_offline, go_online):
            yield

    async def _empty_battery(self, device: SimulatedMqttBracelet, event: Occurrence) -> None:
        """Switch off without a disconnect message, then restart; the network sets the clock."""
        state, timeline = device.state, self._timeline
        power_off = as_step(lambda: state.power_off(timeline.now_ms()))
        restart = as_step(lambda: state.restart(timeline.now_ms()))
        async with (
            self._offline(device),
            self._active.active(device.device_id, "off", power_off, restart),
        ):
            await timeline.sleep(event.for_s)
