"""A standard Bluetooth device worn by a simulated child: it measures while connected and stores nothing."""

from __future__ import annotations

from firmware_sim.physiology.body import Patient
from firmware_sim.physiology.scenarios import simulate
from firmware_sim.radio.standard_device import StandardDevice, Thermometer

_THERMOMETER_PERIODS = 10
"""A thermometer measures once in this many periods."""


class SimulatedStandardDevice:
    """One standard device worn by a child.

    Its measurements carry no sequence number, so losses cannot be counted: they are not logged.
    """

    def __init__(self, patient: Patient, seed: int, device: StandardDevice) -> None:
        self._device = device
        self._samples = simulate(patient, seed)
        self._period = 0
        self.duplicate = self.motion = self.low_perfusion = 0

    @property
    def device_id(self) -> str:
        """The name it advertises."""
        return self._device.name

    @property
    def connected(self) -> bool:
        """Whether a gateway is connected."""
        return self._device.connected

    @property
    def pending(self) -> int:
        """Always 0: it stores nothing."""
        return 0

    async def measure(self, _now_ms: int) -> None:
        """Take a measurement and send it."""
        sample = next(self._samples)
        if not isinstance(self._device, Thermometer) or self._period % _THERMOMETER_PERIODS == 0:
            await self._device.measure(sample.measurements)
        self._period += 1
