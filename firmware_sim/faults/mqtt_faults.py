"""What befalls an MQTT bracelet: away from the network, without power, or sending nonsense."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random

from firmware_sim.device.simulated_device import SimulatedMqttBracelet
from firmware_sim.faults.active_faults import ActiveFaults, at_once
from firmware_sim.faults.scenario_file import EventKind, Occurrence
from firmware_sim.timeline import Timeline

_GARBAGE_BYTES = 24


class MqttFaults:
    """Carries out events.

    Args:
        timeline: the simulated clock.
        conditions: shared by all that befalls the fleet.
        random: for what is random.
    """

    def __init__(self, timeline: Timeline, conditions: ActiveFaults, random: Random) -> None:
        self._timeline, self._conditions, self._random = timeline, conditions, random

    async def inject(self, worn: SimulatedMqttBracelet, what: Occurrence) -> None:
        """Carry out one event, and return when it is over."""
        match what.kind:
            case EventKind.OUT_OF_RANGE:
                async with self._away(worn):
                    await self._timeline.pass_by(what.for_s)
            case EventKind.GARBAGE:
                for _ in range(round(what.value)):
                    worn.client.send(self._random.randbytes(_GARBAGE_BYTES))
            case EventKind.BATTERY:
                await self._run_empty(worn, what)
            case EventKind.REBOOT | EventKind.RESET:
                kept = what.kind is EventKind.REBOOT
                async with self._away(worn):
                    if not kept:
                        worn.forget()
                    worn.state.restart(self._timeline.now_ms(), flash_kept=kept)

    @asynccontextmanager
    async def _away(self, worn: SimulatedMqttBracelet) -> AsyncIterator[None]:
        come_back = at_once(worn.client.come_back)
        async with self._conditions.hold(worn.device_id, "away", worn.client.leave, come_back):
            yield

    async def _run_empty(self, worn: SimulatedMqttBracelet, what: Occurrence) -> None:
        """Off without a word, then a restart; the network sets its clock."""
        timeline = self._timeline
        die = at_once(lambda: worn.state.die(timeline.now_ms()))
        restart = at_once(lambda: worn.state.restart(timeline.now_ms()))
        async with self._away(worn), self._conditions.hold(worn.device_id, "off", die, restart):
            await timeline.pass_by(what.for_s)
