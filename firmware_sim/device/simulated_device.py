"""A bracelet worn by a simulated child: measures, logs each reading and sends it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from firmware_sim.firmware.bracelet import Bracelet
from firmware_sim.mqtt.bracelet import MqttBracelet
from firmware_sim.physiology.body import Patient
from firmware_sim.physiology.scenarios import Sample, simulate
from firmware_sim.radio.peripheral import BraceletPeripheral
from firmware_sim.sent_readings import SentReadingsLog
from firmware_sim.timeline import moment
from vitals.gatt.bracelet import BraceletRecord
from vitals.reading import Reading, Signal, derived_message_id

_SITE = "wrist"


class SimulatedDevice(Protocol):
    """A device worn by a simulated child.

    Attributes:
        duplicate: how many of its next records are sent twice.
        motion, low_perfusion: how many active faults cause each condition.
    """

    duplicate: int
    motion: int
    low_perfusion: int

    @property
    def device_id(self) -> str:
        """Serial number."""

    @property
    def connected(self) -> bool:
        """Whether a gateway or broker is connected."""

    @property
    def pending(self) -> int:
        """Number of readings that have not been acknowledged."""

    async def measure(self, now_ms: int) -> None:
        """Take one reading and send it."""


@dataclass(slots=True)
class _ChildWithBracelet:
    """A child and the firmware of the bracelet it wears."""

    patient: Patient
    bracelet: Bracelet
    sent_readings: SentReadingsLog

    def record(self, sample: Sample, now_ms: int, motion: bool, low_perfusion: bool) -> BraceletRecord:
        """Store one record; without values, and so without a reading, while the bracelet is not worn."""
        values = sample.measurements if self.bracelet.worn else None
        return self.bracelet.measure(values, now_ms, motion=motion, low_perfusion=low_perfusion)

    def log(self, record: BraceletRecord, now_ms: int, signal: Signal | None = None) -> Reading | None:
        """Log a record with its true time; return it as a reading stamped by the bracelet's clock."""
        reading = reading_of(record, self.bracelet.device_id, self.patient, signal)
        if reading:
            self.sent_readings.append(reading.model_copy(update={"timestamp": moment(now_ms)}))
        return reading


class SimulatedBleBracelet:
    """A Bluetooth bracelet worn by a child.

    Attributes:
        reorder: how many of its next records are each swapped with the following one.
    """

    def __init__(
        self, patient: Patient, seed: int, peripheral: BraceletPeripheral, sent_readings: SentReadingsLog
    ) -> None:
        self.peripheral = peripheral
        self._child = _ChildWithBracelet(patient, peripheral.bracelet, sent_readings)
        self._samples = simulate(patient, seed)
        self._delayed: BraceletRecord | None = None
        self.duplicate = self.reorder = self.motion = self.low_perfusion = 0

    @property
    def device_id(self) -> str:
        """Serial number."""
        return self.peripheral.bracelet.device_id

    @property
    def connected(self) -> bool:
        """Whether a gateway is connected."""
        return self.peripheral.connected

    @property
    def pending(self) -> int:
        """Number of records that have not been released."""
        return self.peripheral.bracelet.unreleased

    async def measure(self, now_ms: int) -> None:
        """Take one reading, write it to flash and notify it; do nothing without power."""
        sample = next(self._samples)
        if not self.peripheral.bracelet.on:
            return
        motion = sample.motion or self.motion > 0
        record = self._child.record(sample, now_ms, motion, self.low_perfusion > 0)
        self._child.log(record, now_ms)
        if self.reorder and self._delayed is None:
            self.reorder, self._delayed = self.reorder - 1, record
            return
        delayed, self._delayed = self._delayed, None
        await self.peripheral.publish(record)
        if delayed:
            await self.peripheral.publish(delayed)
        if self.duplicate:
            self.duplicate -= 1
            await self.peripheral.publish(record)


class SimulatedMqttBracelet:
    """An MQTT bracelet worn by a child; the firmware state provides sequence numbers and battery charge.

    Attributes:
        reorder: how many of its next readings are each swapped with the following one.
    """

    def __init__(
        self,
        patient: Patient,
        seed: int,
        state: Bracelet,
        client: MqttBracelet,
        sent_readings: SentReadingsLog,
    ) -> None:
        self.state, self.client = state, client
        self._child = _ChildWithBracelet(patient, state, sent_readings)
        self._samples = simulate(patient, seed)
        self._delayed: Reading | None = None
        self.duplicate = self.reorder = self.motion = self.low_perfusion = 0

    @property
    def device_id(self) -> str:
        """Serial number."""
        return self.state.device_id

    @property
    def connected(self) -> bool:
        """Whether the broker is connected."""
        return self.client.connected

    @property
    def pending(self) -> int:
        """Number of readings that have not been acknowledged."""
        return self.client.unacknowledged + (self._delayed is not None)

    async def measure(self, now_ms: int) -> None:
        """Take one reading and publish it; do nothing without power."""
        sample = next(self._samples)
        if not self.state.on:
            return
        signal = Signal(
            contact=self.state.worn,
            motion=sample.motion or self.motion > 0,
            low_perfusion=self.low_perfusion > 0,
            battery_pct=self.state.battery_pct(now_ms),
            site=_SITE,
        )
        record = self._child.record(sample, now_ms, bool(signal.motion), bool(signal.low_perfusion))
        self.state.release_up_to(record.seq)  # the MQTT client keeps it from here on
        if reading := self._child.log(record, now_ms, signal):
            self._publish(reading)

    def _publish(self, reading: Reading) -> None:
        if self.reorder and self._delayed is None:
            self.reorder, self._delayed = self.reorder - 1, reading
            return
        self.client.publish(reading)
        self.publish_delayed()
        if self.duplicate:
            self.duplicate -= 1
            self.client.publish(reading)

    def publish_delayed(self) -> None:
        """Publish the reading that was delayed to be reordered, if any."""
        delayed, self._delayed = self._delayed, None
        if delayed:
            self.client.publish(delayed)

    def discard_unsent(self) -> None:
        """Discard all readings that have not been sent."""
        self._delayed = None
        self.client.discard_queue()


def reading_of(
    record: BraceletRecord, device_id: str, patient: Patient, signal: Signal | None
) -> Reading | None:
    """Return a record as a reading, with the identity that every receiver derives; None without values."""
    if record.measurements is None:
        return None
    return Reading(
        patient_id=patient.patient_id,
        device_id=device_id,
        timestamp=moment(record.device_time_ms),
        measurements=record.measurements,
        message_id=derived_message_id(device_id, record.boot, record.seq, record.device_time_ms),
        seq=record.seq,
        boot=record.boot,
        signal=signal,
    )
