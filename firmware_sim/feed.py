"""The simple simulator, which sends readings straight to a target: no bracelet, no gateway."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from itertools import islice

from firmware_sim.physiology.body import patients
from firmware_sim.physiology.scenarios import simulate
from firmware_sim.sent_readings import SentReadingsLog
from firmware_sim.targets import Target
from firmware_sim.timeline import Timeline, milliseconds, moment
from vitals.reading import Reading, derived_message_id

log = logging.getLogger(__name__)

LARGEST_BATCH = 500


def readings(children: int, seed: int, boot: int, start_ms: int, period_s: float) -> Iterator[Reading]:
    """Yield readings of all children in order of time, without end; devices are `sim-001`, `sim-002`, ….

    Args:
        children: number of children.
        seed: the same seed gives the same values.
        boot: restart counter, 0 to 255, which tells runs apart.
        start_ms: time of the first reading, milliseconds since 1970 UTC.
        period_s: seconds between two readings of one child.
    """
    samples_of = [(patient, simulate(patient, seed)) for patient in islice(patients(), children)]
    seq = 0
    while True:
        time_ms = start_ms + round(seq * period_s * 1000)
        for number, (patient, samples) in enumerate(samples_of, start=1):
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
    """Sender of readings when they are due; readings due at the same time are sent as one batch.

    Attributes:
        sent: number of readings delivered.
    """

    def __init__(
        self,
        source: Iterator[Reading],
        target: Target,
        timeline: Timeline,
        sent_readings: SentReadingsLog,
    ) -> None:
        self._source, self._target, self._timeline = source, target, timeline
        self._sent_readings = sent_readings
        self.sent = 0

    def summary(self) -> str:
        """Return one line of progress."""
        return f"{self._sent_readings.count} readings measured, {self.sent} delivered"

    async def run(self, stop: asyncio.Event) -> None:
        """Send until `stop` or the end of the source; deliver everything measured before returning.

        Raises:
            TargetRefused: the target rejects the readings.
        """
        batch: list[Reading] = []
        for reading in self._source:
            due_s = self._timeline.seconds_until(milliseconds(reading.timestamp))
            if due_s > 0 or len(batch) >= LARGEST_BATCH:
                await self._deliver(batch)
                due_s = self._timeline.seconds_until(milliseconds(reading.timestamp))
            if stop.is_set() or (due_s > 0 and await _is_set_within(stop, due_s)):
                break
            self._sent_readings.append(reading)
            batch.append(reading)
        await self._deliver(batch)

    async def _deliver(self, batch: list[Reading]) -> None:
        if batch:
            await self._target.send(batch)
            self.sent += len(batch)
            batch.clear()


async def _is_set_within(event: asyncio.Event, timeout_s: float) -> bool:
    try:
        async with asyncio.timeout(timeout_s):
            return await event.wait()
    except TimeoutError:
        return False
