"""A bracelet on a simulated child: takes readings, notes them in the ledger, sends them."""

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
    """A bracelet on a child.

    Attributes:
        duplicate: so many of its next records are sent twice.
        motion, low_perfusion: how many reasons there are for it just now.
    """

    duplicate: int
    motion: int
    low_perfusion: int

    @property
    def device_id(self) -> str:
        """Serial number."""

    @property
    def connected(self) -> bool:
        """Whether somebody takes its readings."""

    @property
    def pending(self) -> int:
        """Readings nobody has confirmed yet."""

    async def measure(self, now_ms: int) -> None:
        """Take one reading and send it."""


@dataclass(slots=True)
class _ChildWithBracelet:
    """The child, and the firmware that measures it."""

    patient: Patient
    bracelet: Bracelet
    ledger: SentReadingsLog

    def take(self, sample: Sample, now_ms: int, motion: bool, low_perfusion: bool) -> BraceletRecord:
        """One record; without values where the bracelet is not worn, and then it is no reading."""
        values = sample.measurements if self.bracelet.worn else None
        return self.bracelet.measure(values, now_ms, motion=motion, low_perfusion=low_perfusion)

    def note(self, record: BraceletRecord, now_ms: int, signal: Signal | None = None) -> Reading | None:
        """Note a record in the ledger with its true time, and give it as the reading the bracelet knows."""
        reading = reading_of(record, self.bracelet.device_id, self.patient, signal)
        if reading:
            self.ledger.note(reading.model_copy(update={"timestamp": moment(now_ms)}))
        return reading


class SimulatedBleBracelet:
    """A Bluetooth bracelet on a child.

    Attributes:
        reorder: so many of its next records each change places with the one behind.
    """

    def __init__(
        self, patient: Patient, seed: int, peripheral: BraceletPeripheral, ledger: SentReadingsLog
    ) -> None:
        self.peripheral = peripheral
        self._wearer = _ChildWithBracelet(patient, peripheral.bracelet, ledger)
        self._samples = simulate(patient, seed)
        self._held: BraceletRecord | None = None
        self.duplicate = self.reorder = self.motion = self.low_perfusion = 0

    @property
    def device_id(self) -> str:
        """Serial number."""
        return self.peripheral.bracelet.device_id

    @property
    def connected(self) -> bool:
        """Whether a gateway holds a connection."""
        return self.peripheral.connected

    @property
    def pending(self) -> int:
        """Records not released."""
        return self.peripheral.bracelet.unreleased

    async def measure(self, now_ms: int) -> None:
        """Take one reading, write it to flash and notify it; nothing without power."""
        sample = next(self._samples)
        if not self.peripheral.bracelet.on:
            return
        motion = sample.motion or self.motion > 0
        record = self._wearer.take(sample, now_ms, motion, self.low_perfusion > 0)
        self._wearer.note(record, now_ms)
        if self.reorder and self._held is None:
            self.reorder, self._held = self.reorder - 1, record
            return
        held, self._held = self._held, None
        for each in (record, held) if held else (record,):
            await self.peripheral.publish(each)
        if self.duplicate:
            self.duplicate -= 1
            await self.peripheral.publish(record)


class SimulatedMqttBracelet:
    """An MQTT bracelet on a child; the firmware's state numbers its readings and tells its charge.

    Attributes:
        reorder: so many of its next readings each change places with the one behind.
    """

    def __init__(
        self, patient: Patient, seed: int, state: Bracelet, client: MqttBracelet, ledger: SentReadingsLog
    ) -> None:
        self.state, self.client = state, client
        self._wearer = _ChildWithBracelet(patient, state, ledger)
        self._samples = simulate(patient, seed)
        self._held: Reading | None = None
        self.duplicate = self.reorder = self.motion = self.low_perfusion = 0

    @property
    def device_id(self) -> str:
        """Serial number."""
        return self.state.device_id

    @property
    def connected(self) -> bool:
        """Whether the broker is there."""
        return self.client.connected

    @property
    def pending(self) -> int:
        """Readings not acknowledged."""
        return self.client.unacknowledged + (self._held is not None)

    async def measure(self, now_ms: int) -> None:
        """Take one reading and publish it; nothing without power."""
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
        record = self._wearer.take(sample, now_ms, bool(signal.motion), bool(signal.low_perfusion))
        self.state.release_up_to(record.seq)  # from here on the MQTT client keeps it
        if reading := self._wearer.note(record, now_ms, signal):
            self._send(reading)

    def _send(self, reading: Reading) -> None:
        if self.reorder and self._held is None:
            self.reorder, self._held = self.reorder - 1, reading
            return
        self.client.publish(reading)
        self.send_held()
        if self.duplicate:
            self.duplicate -= 1
            self.client.publish(reading)

    def send_held(self) -> None:
        """Send what waits for the reading behind it; there may be none."""
        held, self._held = self._held, None
        if held:
            self.client.publish(held)

    def forget(self) -> None:
        """Lose what nobody has taken yet."""
        self._held = None
        self.client.forget()


def reading_of(
    record: BraceletRecord, device_id: str, patient: Patient, signal: Signal | None
) -> Reading | None:
    """The reading a record is, with the identity every receiver derives for it; None without values."""
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
