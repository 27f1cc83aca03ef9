"""Faults of a Bluetooth bracelet: on the radio link, at the gateway's adapter, and loss of power."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random

from firmware_sim.device.simulated_device import SimulatedBleBracelet
from firmware_sim.faults.active_faults import ActiveFaults, as_step
from firmware_sim.faults.scenario_file import EventKind, Occurrence
from firmware_sim.firmware.bracelet import Bracelet
from firmware_sim.radio.peripheral import BraceletPeripheral
from firmware_sim.radio.virtual_radio import VirtualController, VirtualLink
from firmware_sim.timeline import Timeline

_CLONE_NUMBERS = 60_000
_GARBAGE_BYTES = 24


class BleFaults:
    """Injector of events into Bluetooth bracelets.

    Args:
        link: the radio link.
        gateway: the gateway's adapter.
        timeline: the simulated clock.
        active: faults active in the fleet.
        random: source of random bytes.
    """

    def __init__(
        self,
        link: VirtualLink,
        gateway: VirtualController,
        timeline: Timeline,
        active: ActiveFaults,
        random: Random,
    ) -> None:
        self._link, self._gateway, self._timeline = link, gateway, timeline
        self._active, self._random = active, random
        self._max_links, self._clones = gateway.max_links, 0

    async def inject(self, device: SimulatedBleBracelet, event: Occurrence) -> None:
        """Inject one event; return when it is over."""
        peripheral = device.peripheral
        match event.kind:
            case EventKind.LINK_LOSS:
                self._lose_link(peripheral)
            case EventKind.OUT_OF_RANGE:
                async with self._hidden(peripheral):
                    self._lose_link(peripheral)
                    await self._timeline.sleep(event.for_s)
            case EventKind.SILENT_DEATH:
                async with self._hidden(peripheral), self._muted(peripheral):
                    await self._timeline.sleep(event.for_s)
            case EventKind.BATTERY:
                await self._empty_battery(peripheral, event)
            case EventKind.SLOW_CONNECT:
                await self._delay_connections(peripheral, event, event.value / self._timeline.speed)
            case EventKind.REFUSE_CONNECT:
                await self._delay_connections(peripheral, event, math.inf)
            case EventKind.SLOTS_TAKEN:
                with self._active.level("adapter", "slots", round(event.value), self._limit_links):
                    await self._timeline.sleep(event.for_s)
            case EventKind.STALE_BOND:
                await peripheral.forget_bonds()
            case EventKind.GARBAGE:
                for _ in range(round(event.value)):
                    await peripheral.send_live(self._random.randbytes(_GARBAGE_BYTES))
            case EventKind.GARBAGE_STATUS:
                for _ in range(round(event.value)):
                    await peripheral.send_status(self._random.randbytes(_GARBAGE_BYTES))
            case EventKind.CLONE:
                await self._clone(peripheral, event)
            case EventKind.REBOOT | EventKind.RESET:
                kept = event.kind is EventKind.REBOOT
                self._lose_link(peripheral)
                peripheral.bracelet.restart(self._timeline.now_ms(), flash_kept=kept, clock_kept=kept)

    def _lose_link(self, peripheral: BraceletPeripheral) -> None:
        """Lose the link, reported at both ends, unless the bracelet is muted: then neither end may notice."""
        if not self._link.is_muted(peripheral.controller):
            peripheral.controller.lose_links()

    @asynccontextmanager
    async def _hidden(self, peripheral: BraceletPeripheral) -> AsyncIterator[None]:
        async with self._active.active(peripheral.name, "hidden", peripheral.hide, peripheral.advertise):
            yield

    @asynccontextmanager
    async def _muted(self, peripheral: BraceletPeripheral) -> AsyncIterator[None]:
        mute = as_step(lambda: self._link.mute(peripheral.controller))
        unmute = as_step(lambda: self._link.unmute(peripheral.controller))
        async with self._active.active(peripheral.name, "muted", mute, unmute):
            yield

    async def _empty_battery(self, peripheral: BraceletPeripheral, event: Occurrence) -> None:
        """Switch off without a disconnection, then restart; the clock does not run without power."""
        bracelet, timeline = peripheral.bracelet, self._timeline
        power_off = as_step(lambda: bracelet.power_off(timeline.now_ms()))
        restart = as_step(lambda: bracelet.restart(timeline.now_ms(), clock_kept=False))
        off = self._active.active(peripheral.name, "off", power_off, restart)
        async with self._hidden(peripheral), self._muted(peripheral), off:
            await timeline.sleep(event.for_s)

    async def _delay_connections(
        self, peripheral: BraceletPeripheral, event: Occurrence, seconds: float
    ) -> None:
        def apply(delays: list[float]) -> None:
            self._link.connect_delay_s[peripheral.controller] = max(delays, default=0.0)

        with self._active.level(peripheral.name, "slow", seconds, apply):
            await self._timeline.sleep(event.for_s)

    def _limit_links(self, limits: list[float]) -> None:
        self._gateway.max_links = round(min(limits, default=self._max_links))

    async def _clone(self, peripheral: BraceletPeripheral, event: Occurrence) -> None:
        self._clones += 1
        state = Bracelet(peripheral.bracelet.device_id, 0, self._timeline.now_ms())
        clone = BraceletPeripheral(self._link, _CLONE_NUMBERS + self._clones, state, self._timeline.now_ms)
        await clone.start()
        try:
            await self._timeline.sleep(event.for_s)
        finally:
            await clone.stop()
