"""What a run of bracelets is to be, as values."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from firmware_sim.faults.scenario_file import FaultScenario
from firmware_sim.radio.standard_device import StandardDeviceKind


@dataclass(frozen=True, slots=True)
class Address:
    """Host and port."""

    host: str
    port: int


@dataclass(frozen=True, slots=True)
class FleetPlan:
    """What to put on the air.

    Attributes:
        ble, mqtt: number of bracelets.
        hci: where the gateway's Bluetooth stack plugs in.
        broker: of MQTT.
        boot: restart counter of all of them, 0 to 255.
        period_s: simulated seconds between two readings of a bracelet.
        duration_s: real seconds of measuring; without end where None.
        drain_s: most seconds to stay on the air afterwards.
        scenario: what befalls the bracelets.
        standard: bought devices beside the bracelets.
        secure: vitals only for who has paired.
        drift_ppm: how much too fast their clocks run; each its own, within ± 50, where None.
    """

    ble: int
    mqtt: int
    hci: str
    broker: Address
    seed: int
    boot: int
    period_s: float
    duration_s: float | None
    drain_s: float
    ledger: Path | None
    scenario: FaultScenario | None = None
    drift_ppm: float | None = None
    secure: bool = False
    standard: tuple[StandardDeviceKind, ...] = ()
