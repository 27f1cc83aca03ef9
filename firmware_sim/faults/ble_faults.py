"""What befalls a Bluetooth bracelet: on the air, at the gateway's adapter, and when it loses power."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random

from firmware_sim.device.simulated_device import SimulatedBleBracelet
from firmware_sim.faults.active_faults import ActiveFaults, at_once
from firmware_sim.faults.scenario_file import EventKind, Occurrence
from firmware_sim.firmware.bracelet import Bracelet
from firmware_sim.radio.peripheral import BraceletPeripheral
from firmware_sim.radio.virtual_radio import VirtualController, VirtualLink
from firmware_sim.timeline import Timeline

_CLONE_NUMBERS = 60_000
_GARBAGE_BYTES = 24


class BleFaults:
    """Carries out events.

    Args:
        link: the air.
        radio: the gateway's adapter.
        timeline: the simulated clock.
        conditions: shared by all that befalls the fleet.
        random: for what is random.
    """

    def __init__(
        self,
        link: VirtualLink,
        radio: VirtualController,
        timeline: Timeline,
        conditions: ActiveFaults,
        random: Random,
    ) -> None:
        self._link, self._radio, self._timeline = link, radio, timeline
        self._conditions, self._random = conditions, random
        self._most_links, self._clones = radio.most_links, 0

    async def inject(self, worn: SimulatedBleBracelet, what: Occurrence) -> None:
        """Carry out one event, and return when it is over."""
        peripheral = worn.peripheral
        match what.kind:
            case EventKind.LINK_LOSS:
                self._lose_link(peripheral)
            case EventKind.OUT_OF_RANGE:
                async with self._hidden(peripheral):
                    self._lose_link(peripheral)
                    await self._timeline.pass_by(what.for_s)
            case EventKind.SILENT_DEATH:
                async with self._hidden(peripheral), self._mute(peripheral):
                    await self._timeline.pass_by(what.for_s)
            case EventKind.BATTERY:
                await self._run_empty(peripheral, what)
            case EventKind.SLOW_CONNECT:
                await self._delay_connections(peripheral, what, what.value / self._timeline.speed)
            case EventKind.REFUSE_CONNECT:
                await self._delay_connections(peripheral, what, math.inf)
            case EventKind.SLOTS_TAKEN:
                with self._conditions.level("adapter", "slots", round(what.value), self._limit_links):
                    await self._timeline.pass_by(what.for_s)
            case EventKind.STALE_BOND:
                await peripheral.forget_bonds()
            case EventKind.GARBAGE:
                for _ in range(round(what.value)):
                    await peripheral.send_live(self._random.randbytes(_GARBAGE_BYTES))
            case EventKind.GARBAGE_STATUS:
                for _ in range(round(what.value)):
                    await peripheral.send_status(self._random.randbytes(_GARBAGE_BYTES))
            case EventKind.CLONE:
                await self._clone(peripheral, what)
            case EventKind.REBOOT | EventKind.RESET:
                kept = what.kind is EventKind.REBOOT
                self._lose_link(peripheral)
                peripheral.bracelet.restart(self._timeline.now_ms(), flash_kept=kept, clock_kept=kept)

    def _lose_link(self, peripheral: BraceletPeripheral) -> None:
        """Both ends notice, unless the bracelet is silent already: then no controller says a word."""
        if not self._link.swallows(peripheral.controller):
            peripheral.controller.lose_links()

    @asynccontextmanager
    async def _hidden(self, peripheral: BraceletPeripheral) -> AsyncIterator[None]:
        async with self._conditions.hold(peripheral.name, "hidden", peripheral.hide, peripheral.advertise):
            yield

    @asynccontextmanager
    async def _mute(self, peripheral: BraceletPeripheral) -> AsyncIterator[None]:
        swallow = at_once(lambda: self._link.swallow(peripheral.controller))
        let_through = at_once(lambda: self._link.let_through(peripheral.controller))
        async with self._conditions.hold(peripheral.name, "mute", swallow, let_through):
            yield

    async def _run_empty(self, peripheral: BraceletPeripheral, what: Occurrence) -> None:
        """Off without a word, then a restart; without power the clock has not gone on."""
        bracelet, timeline = peripheral.bracelet, self._timeline
        die = at_once(lambda: bracelet.die(timeline.now_ms()))
        restart = at_once(lambda: bracelet.restart(timeline.now_ms(), clock_kept=False))
        off = self._conditions.hold(peripheral.name, "off", die, restart)
        async with self._hidden(peripheral), self._mute(peripheral), off:
            await timeline.pass_by(what.for_s)

    async def _delay_connections(
        self, peripheral: BraceletPeripheral, what: Occurrence, seconds: float
    ) -> None:
        def apply(delays: list[float]) -> None:
            self._link.connect_delay_s[peripheral.controller] = max(delays, default=0.0)

        with self._conditions.level(peripheral.name, "slow", seconds, apply):
            await self._timeline.pass_by(what.for_s)

    def _limit_links(self, limits: list[float]) -> None:
        self._radio.most_links = round(min(limits, default=self._most_links))

    async def _clone(self, peripheral: BraceletPeripheral, what: Occurrence) -> None:
        self._clones += 1
        state = Bracelet(peripheral.bracelet.device_id, 0, self._timeline.now_ms())
        clone = BraceletPeripheral(self._link, _CLONE_NUMBERS + self._clones, state, self._timeline.now_ms)
        await clone.start()
        try:
            await self._timeline.pass_by(what.for_s)
        finally:
            await clone.stop()
