"""The simple simulator feeding a target directly: one reading a child and period, no bracelet, no gateway."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from itertools import islice

from firmware_sim.physiology.body import patients
from firmware_sim.physiology.scenarios import simulate
from firmware_sim.sent_readings import SentReadingsLog
from firmware_sim.targets import Target
from firmware_sim.timeline import Timeline, moment
from vitals.reading import Reading, derived_message_id

log = logging.getLogger(__name__)

LARGEST_BATCH = 500


def readings(children: int, seed: int, boot: int, start_ms: int, period_s: float) -> Iterator[Reading]:
    """Readings of all children without end, in order of time; devices are `sim-001`, `sim-002`, ….

    Args:
        children: how many.
        seed: same seed, same values.
        boot: restart counter, 0 to 255, that tells runs apart.
        start_ms: time of the first, milliseconds since 1970 UTC.
        period_s: seconds between two readings of one child.
    """
    lines = [(patient, simulate(patient, seed)) for patient in islice(patients(), children)]
    seq = 0
    while True:
        time_ms = start_ms + round(seq * period_s * 1000)
        for number, (patient, samples) in enumerate(lines, start=1):
            device_id = f"sim-{number:03d}"
            yield Reading(
                patient_id=patient.patient_id,
                device_id=device_id,
                timestamp=moment(time_ms),
                measurements=next(samples).measurements,
                message_id=derived_message_id(device_id, boot, seq, time_ms),
                seq=seq,
                boot=boot,
            )
        seq += 1


class ReadingFeed:
    """Sends readings when they are due, in batches where they come fast.

    Attributes:
        sent: readings delivered.
    """

    def __init__(
        self, source: Iterator[Reading], target: Target, timeline: Timeline, ledger: SentReadingsLog
    ) -> None:
        self._source, self._target, self._timeline, self._ledger = source, target, timeline, ledger
        self.sent = 0

    def summary(self) -> str:
        """One line for a person."""
        return f"{self._ledger.count} readings measured, {self.sent} delivered"

    async def run(self, stop: asyncio.Event) -> None:
        """Send until `stop` or the end of the source; what was measured is delivered before it returns.

        Raises:
            TargetRefused: the target will not take the readings.
        """
        batch: list[Reading] = []
        for reading in self._source:
            due_s = self._timeline.seconds_until(round(reading.timestamp.timestamp() * 1000))
            if due_s > 0 or len(batch) >= LARGEST_BATCH:
                await self._deliver(batch)
                due_s = self._timeline.seconds_until(round(reading.timestamp.timestamp() * 1000))
            if stop.is_set() or (due_s > 0 and await _rings(stop, due_s)):
                break
            self._ledger.note(reading)
            batch.append(reading)
        await self._deliver(batch)

    async def _deliver(self, batch: list[Reading]) -> None:
        if batch:
            await self._target.send(batch)
            self.sent += len(batch)
            batch.clear()


async def _rings(event: asyncio.Event, within_s: float) -> bool:
    try:
        async with asyncio.timeout(within_s):
            return await event.wait()
    except TimeoutError:
        return False
