"""A bracelet on a simulated child: takes readings, notes them in the ledger, sends them."""

from __future__ import annotations

from typing import Protocol

from firmware_sim.bracelet import Bracelet
from firmware_sim.ledger import Ledger
from firmware_sim.mqtt_bracelet import MqttBracelet
from firmware_sim.peripheral import Peripheral
from firmware_sim.physiology import Patient
from firmware_sim.scenarios import Sample, simulate
from firmware_sim.timeline import moment
from vitals.gatt.bracelet import BraceletRecord
from vitals.reading import Reading, Signal, derived_message_id

_SITE = "wrist"


class Worn(Protocol):
    """A bracelet on a child."""

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


class WornBle:
    """A Bluetooth bracelet on a child."""

    def __init__(self, patient: Patient, seed: int, peripheral: Peripheral, ledger: Ledger) -> None:
        self._patient, self.peripheral, self._ledger = patient, peripheral, ledger
        self._samples = simulate(patient, seed)

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
        """Take one reading, write it to flash and notify it."""
        sample = next(self._samples)
        record = self.peripheral.bracelet.measure(sample.measurements, now_ms, motion=sample.motion)
        self._ledger.note(reading_of(record, self.device_id, self._patient, sample))
        await self.peripheral.publish(record)


class WornMqtt:
    """An MQTT bracelet on a child; the firmware's state numbers its readings and tells its charge."""

    def __init__(
        self, patient: Patient, seed: int, state: Bracelet, client: MqttBracelet, ledger: Ledger
    ) -> None:
        self._patient, self._state, self._client, self._ledger = patient, state, client, ledger
        self._samples = simulate(patient, seed)

    @property
    def device_id(self) -> str:
        """Serial number."""
        return self._state.device_id

    @property
    def connected(self) -> bool:
        """Whether the broker is there."""
        return self._client.connected

    @property
    def pending(self) -> int:
        """Readings not acknowledged."""
        return self._client.unacknowledged

    async def measure(self, now_ms: int) -> None:
        """Take one reading and publish it."""
        sample = next(self._samples)
        record = self._state.measure(sample.measurements, now_ms, motion=sample.motion)
        self._state.release_up_to(record.seq)  # from here on the MQTT client keeps it
        reading = reading_of(record, self.device_id, self._patient, sample).model_copy(
            update={"signal": self._signal(sample, now_ms)}
        )
        self._ledger.note(reading)
        self._client.publish(reading)

    def _signal(self, sample: Sample, now_ms: int) -> Signal:
        return Signal(
            contact=self._state.worn,
            motion=sample.motion,
            low_perfusion=False,
            battery_pct=self._state.battery_pct(now_ms),
            site=_SITE,
        )


def reading_of(record: BraceletRecord, device_id: str, patient: Patient, sample: Sample) -> Reading:
    """The reading that a numbered sample is, with the identity every receiver derives for it."""
    return Reading(
        patient_id=patient.patient_id,
        device_id=device_id,
        timestamp=moment(record.device_time_ms),
        measurements=sample.measurements,
        message_id=derived_message_id(device_id, record.boot, record.seq, record.device_time_ms),
        seq=record.seq,
        boot=record.boot,
    )
