"""Scenarios of the simulated children: episodes of normal, stress, activity and crisis. Pure and seeded.

Shares of readings are fixed: 70 % normal, 15 % stress, 10 % activity, 5 % crisis. Episodes come in shuffled
blocks of 60 readings with exactly those shares (permuted blocks), so the shares hold for every child and not
only on average, and every block contains a crisis.

Differences from rest: activity is Kidjamo's table of clinical events (SpO2 −1…−4, heart rate +30…70,
respiratory rate +8…15, temperature +0.2). Crisis has SpO2 −5…−15 and temperature +1.5…+3.0 (contract of
the simple simulator), with the heart and respiratory rates of a vaso-occlusive crisis (+15…30, +2…6).
Stress is a milder activity at rest.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from random import Random

from firmware_sim.physiology.body import Patient, RestingBody, Vitals
from vitals.limits import SPO2
from vitals.reading import Measurements


class Scenario(StrEnum):
    """The state a child is in."""

    NORMAL = "normal"
    STRESS = "stress"
    ACTIVITY = "activity"
    CRISIS = "crisis"


EPISODE_LENGTHS: dict[Scenario, tuple[int, ...]] = {
    Scenario.NORMAL: (6, 8, 9, 9, 10),
    Scenario.STRESS: (3, 6),
    Scenario.ACTIVITY: (2, 4),
    Scenario.CRISIS: (1, 2),
}
"""Lengths of the episodes in one block, in readings."""

BLOCK_SIZE = sum(sum(lengths) for lengths in EPISODE_LENGTHS.values())


@dataclass(frozen=True, slots=True)
class Effect:
    """Range of the differences that a scenario adds to the resting values."""

    least: Vitals
    most: Vitals

    def draw(self, random: Random) -> Vitals:
        """Draw the differences of one episode."""
        return Vitals(
            random.uniform(self.least.spo2, self.most.spo2),
            random.uniform(self.least.heart_rate, self.most.heart_rate),
            random.uniform(self.least.respiratory_rate, self.most.respiratory_rate),
            random.uniform(self.least.temperature, self.most.temperature),
        )


EFFECTS = {
    Scenario.NORMAL: Effect(Vitals(), Vitals()),
    Scenario.STRESS: Effect(Vitals(0, 10, 2, 0), Vitals(-1, 25, 6, 0.2)),
    Scenario.ACTIVITY: Effect(Vitals(-1, 30, 8, 0.2), Vitals(-4, 70, 15, 0.2)),
    Scenario.CRISIS: Effect(Vitals(-5, 15, 2, 1.5), Vitals(-15, 30, 6, 3.0)),
}


@dataclass(frozen=True, slots=True)
class Sample:
    """The values of a bracelet's sensors at one time.

    Attributes:
        scenario: the state the child is in.
        measurements: the four vitals, rounded to tenths.
        motion: whether motion disturbs the optical sensors.
    """

    scenario: Scenario
    measurements: Measurements
    motion: bool


def simulate(patient: Patient, seed: int) -> Iterator[Sample]:
    """Yield samples of one child without end; the same child and seed give the same samples."""
    random = Random(f"{seed}/{patient.patient_id}")
    body = RestingBody(patient.genotype, random)
    while True:
        for scenario, length in _shuffled_block(random):
            effect = EFFECTS[scenario].draw(random)
            for _ in range(length):
                values = body.next() + effect
                yield Sample(scenario, _rounded(values), motion=scenario is Scenario.ACTIVITY)


def _shuffled_block(random: Random) -> list[tuple[Scenario, int]]:
    block = [(scenario, length) for scenario, lengths in EPISODE_LENGTHS.items() for length in lengths]
    random.shuffle(block)
    return block


def _rounded(values: Vitals) -> Measurements:
    return Measurements(
        spo2_pct=round(min(values.spo2, SPO2.high), 1),
        freq_card=round(values.heart_rate, 1),
        freq_resp=round(values.respiratory_rate, 1),
        temp_corp=round(values.temperature, 1),
    )
