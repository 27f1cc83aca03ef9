"""The parameters of one run, as values."""

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
    """The devices of one run and how long they run.

    Attributes:
        ble, mqtt: number of bracelets.
        hci: transport the gateway's Bluetooth stack connects to.
        broker: the MQTT broker.
        seed: seed of everything random.
        boot: restart counter of all bracelets, 0 to 255.
        period_s: simulated seconds between two readings of a bracelet.
        duration_s: real seconds of measuring; None measures until stopped.
        drain_s: longest wait afterwards for readings to be acknowledged, seconds.
        ledger: file that logs each reading; None writes nothing.
        scenario: the faults to inject.
        drift_ppm: how much too fast their clocks run; None draws a drift within ± 50 for each.
        secure: vitals are readable by paired centrals only.
        standard: standard devices to simulate in addition to the bracelets.
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
