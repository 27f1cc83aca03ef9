"""Carries out what a scenario says: on the air, on the bracelets' firmware, on what they send."""

from __future__ import annotations

import asyncio
import logging
import math
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from random import Random

from firmware_sim.bracelet import Bracelet, Clock
from firmware_sim.peripheral import Peripheral
from firmware_sim.scenario_file import EventKind, Occurrence
from firmware_sim.timeline import Timeline
from firmware_sim.virtual_radio import VirtualController, VirtualLink
from firmware_sim.worn import Worn, WornBle, WornMqtt

log = logging.getLogger(__name__)

_CLONE_NUMBERS = 60_000
_GARBAGE_BYTES = 24


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
        worn: Sequence[Worn],
        timeline: Timeline,
        air: tuple[VirtualLink, VirtualController] | None,
        seed: int,
    ) -> None:
        self._occurrences, self._timeline, self._air = occurrences, timeline, air
        self._worn = {each.device_id: each for each in worn}
        self._random = Random(f"{seed}/faults")
        self._clones = 0
        self.done: Counter[str] = Counter()

    async def run(self) -> None:
        """Carry out all there is, until cancelled; what lasts ends then, too."""
        async with asyncio.TaskGroup() as lasting:
            for occurrence in self._occurrences:
                due = self._timeline.start_ms + round(occurrence.at_s * 1000)
                await asyncio.sleep(max(0.0, self._timeline.seconds_until(due)))
                lasting.create_task(self._befall(occurrence))
            await asyncio.get_running_loop().create_future()

    async def _befall(self, what: Occurrence) -> None:
        log.info("%s: %s", what.device_id, what.kind.value)
        self.done[what.kind.value] += 1
        worn = self._worn[what.device_id]
        if isinstance(worn, WornBle):
            await self._befall_ble(worn, what)
        elif isinstance(worn, WornMqtt):
            await self._befall_mqtt(worn, what)

    async def _befall_ble(self, worn: WornBle, what: Occurrence) -> None:
        peripheral, bracelet = worn.peripheral, worn.peripheral.bracelet
        match what.kind:
            case EventKind.LINK_LOSS:
                peripheral.controller.lose_links()
            case EventKind.OUT_OF_RANGE:
                await peripheral.hide()
                peripheral.controller.lose_links()
                await self._after(what, peripheral.advertise)
            case EventKind.SILENT_DEATH:
                await self._die_silently(peripheral, what)
            case EventKind.SLOW_CONNECT:
                await self._delay_connections(peripheral, what, what.value / self._timeline.speed)
            case EventKind.REFUSE_CONNECT:
                await self._delay_connections(peripheral, what, math.inf)
            case EventKind.SLOTS_TAKEN:
                await self._take_slots(what)
            case EventKind.STALE_BOND:
                await peripheral.forget_bonds()
            case EventKind.GARBAGE:
                for _ in range(round(what.value)):
                    await peripheral.send_live(self._random.randbytes(_GARBAGE_BYTES))
            case EventKind.REORDER:
                worn.reorder += round(what.value)
            case EventKind.CLONE:
                await self._clone(peripheral, what)
            case EventKind.REBOOT | EventKind.RESET:
                kept = what.kind is EventKind.REBOOT
                peripheral.controller.lose_links()
                bracelet.restart(self._timeline.now_ms(), flash_kept=kept, clock_kept=kept)
            case EventKind.CLOCK_WRONG:
                now = self._timeline.now_ms()
                bracelet.clock.set_to(now + round(what.value * 1000), now)
            case EventKind.CLOCK_UNSET:
                bracelet.clock = Clock(is_set=False, drift_ppm=bracelet.clock.drift_ppm)
            case EventKind.BATTERY:
                bracelet.charge(what.value, self._timeline.now_ms())
                if what.value <= 0:
                    await self._die_silently(peripheral, what)
            case _:
                await self._wear(worn, bracelet, what)

    async def _befall_mqtt(self, worn: WornMqtt, what: Occurrence) -> None:
        match what.kind:
            case EventKind.OUT_OF_RANGE:
                await worn.client.stop()
                await self._after(what, _soon(worn.client.start))
            case EventKind.GARBAGE:
                for _ in range(round(what.value)):
                    worn.client.send(self._random.randbytes(_GARBAGE_BYTES))
            case EventKind.BATTERY:
                worn.state.charge(what.value, self._timeline.now_ms())
            case _:
                await self._wear(worn, worn.state, what)

    async def _wear(self, worn: Worn, bracelet: Bracelet, what: Occurrence) -> None:
        """What happens between the sensors and the skin, and with what is sent."""
        match what.kind:
            case EventKind.DUPLICATE:
                worn.duplicate += round(what.value)
            case EventKind.TAKEN_OFF:
                bracelet.worn = False
                await self._after(what, _soon(lambda: setattr(bracelet, "worn", True)))
            case EventKind.MOTION:
                worn.motion += 1
                await self._after(what, _soon(lambda: setattr(worn, "motion", worn.motion - 1)))
            case EventKind.LOW_PERFUSION:
                worn.low_perfusion += 1
                await self._after(what, _soon(lambda: setattr(worn, "low_perfusion", worn.low_perfusion - 1)))

    async def _after(self, what: Occurrence, end: Callable[[], Awaitable[None]]) -> None:
        """Let it last, and end it even when this run ends before."""
        try:
            await asyncio.sleep(what.for_s / self._timeline.speed)
        finally:
            await end()

    async def _die_silently(self, peripheral: Peripheral, what: Occurrence) -> None:
        link, _ = self._the_air
        await peripheral.hide()
        link.swallow(peripheral.controller)

        async def come_back() -> None:
            link.let_through(peripheral.controller)
            await peripheral.advertise()

        await self._after(what, come_back)

    async def _delay_connections(self, peripheral: Peripheral, what: Occurrence, seconds: float) -> None:
        link, _ = self._the_air
        link.connect_delay_s[peripheral.controller] = seconds
        await self._after(what, _soon(lambda: link.connect_delay_s.pop(peripheral.controller, None)))

    async def _take_slots(self, what: Occurrence) -> None:
        _, radio = self._the_air
        before, radio.most_links = radio.most_links, round(what.value)
        await self._after(what, _soon(lambda: setattr(radio, "most_links", before)))

    async def _clone(self, peripheral: Peripheral, what: Occurrence) -> None:
        link, _ = self._the_air
        self._clones += 1
        state = Bracelet(peripheral.bracelet.device_id, 0, self._timeline.now_ms())
        clone = Peripheral(link, _CLONE_NUMBERS + self._clones, state, self._timeline.now_ms)
        await clone.start()
        await self._after(what, clone.stop)

    @property
    def _the_air(self) -> tuple[VirtualLink, VirtualController]:
        if self._air is None:
            raise RuntimeError("there is no Bluetooth in this fleet")
        return self._air


def _soon(do: Callable[[], object]) -> Callable[[], Awaitable[None]]:
    async def doing() -> None:
        do()

    return doing
