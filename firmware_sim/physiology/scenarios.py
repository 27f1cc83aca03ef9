"""What happens to the simulated children: normal, stress, activity and crisis, in episodes. Pure and seeded.

Shares over readings are fixed: 70 % normal, 15 % stress, 10 % activity, 5 % crisis. Episodes are dealt from a
shuffled deck of 60 readings that holds exactly those shares, so they hold for every child and not only on
average, and every deck of a child holds a crisis.

Differences from rest: activity is Kidjamo's table of clinical events (SpO2 −1…−4, heart rate +30…70,
respiratory rate +8…15, temperature +0.2). Crisis has SpO2 −5…−15 and temperature +1.5…+3.0, as the contract
of the simple simulator says, with the heart and respiratory rates of a vaso-occlusive crisis (+15…30, +2…6).
Stress is a milder activity at rest.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from random import Random

from firmware_sim.physiology.body import Body, Patient, Vitals
from vitals.limits import SPO2
from vitals.reading import Measurements


class Scenario(StrEnum):
    """What a child is going through."""

    NORMAL = "normal"
    STRESS = "stress"
    ACTIVITY = "activity"
    CRISIS = "crisis"


DECK: dict[Scenario, tuple[int, ...]] = {
    Scenario.NORMAL: (6, 8, 9, 9, 10),
    Scenario.STRESS: (3, 6),
    Scenario.ACTIVITY: (2, 4),
    Scenario.CRISIS: (1, 2),
}
"""Lengths of the episodes in one deck, in readings."""

DECK_SIZE = sum(sum(lengths) for lengths in DECK.values())


@dataclass(frozen=True, slots=True)
class Effect:
    """Range of what a scenario adds to the resting values."""

    least: Vitals
    most: Vitals

    def draw(self, random: Random) -> Vitals:
        """One episode's difference from rest."""
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
    """What a bracelet's sensors see at one moment.

    Attributes:
        measurements: the four vitals, rounded to tenths.
        motion: moving so much that optical values suffer.
    """

    scenario: Scenario
    measurements: Measurements
    motion: bool


def simulate(patient: Patient, seed: int) -> Iterator[Sample]:
    """Samples of one child without end, the same for the same child and seed."""
    random = Random(f"{seed}/{patient.patient_id}")
    body = Body(patient.genotype, random)
    while True:
        for scenario, length in _deal(random):
            effect = EFFECTS[scenario].draw(random)
            for _ in range(length):
                values = body.next() + effect
                yield Sample(scenario, _measured(values), motion=scenario is Scenario.ACTIVITY)


def _deal(random: Random) -> list[tuple[Scenario, int]]:
    deck = [(scenario, length) for scenario, lengths in DECK.items() for length in lengths]
    random.shuffle(deck)
    return deck


def _measured(values: Vitals) -> Measurements:
    return Measurements(
        spo2_pct=round(min(values.spo2, SPO2.high), 1),
        freq_card=round(values.heart_rate, 1),
        freq_resp=round(values.respiratory_rate, 1),
        temp_corp=round(values.temperature, 1),
    )
