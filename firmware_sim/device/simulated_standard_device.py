"""A bought device on a simulated child: it measures while somebody listens, and remembers nothing."""

from __future__ import annotations

from firmware_sim.physiology.body import Patient
from firmware_sim.physiology.scenarios import simulate
from firmware_sim.radio.standard_device import StandardDevice, Thermometer

_SELDOM = 10
"""A thermometer measures once in so many periods."""


class SimulatedStandardDevice:
    """One device on a child.

    Its measurements carry no number, so that nobody can count which of them arrived: they are in no ledger.
    """

    def __init__(self, patient: Patient, seed: int, device: StandardDevice) -> None:
        self._device = device
        self._samples = simulate(patient, seed)
        self._period = 0
        self.duplicate = self.motion = self.low_perfusion = 0

    @property
    def device_id(self) -> str:
        """What it is called."""
        return self._device.name

    @property
    def connected(self) -> bool:
        """Whether a gateway holds a connection."""
        return self._device.connected

    @property
    def pending(self) -> int:
        """Nothing: it keeps nothing."""
        return 0

    async def measure(self, _now_ms: int) -> None:
        """Take a measurement and send it."""
        sample = next(self._samples)
        if not isinstance(self._device, Thermometer) or self._period % _SELDOM == 0:
            await self._device.measure(sample.measurements)
        self._period += 1
