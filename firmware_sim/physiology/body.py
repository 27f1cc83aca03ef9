"""Simulated children and their vitals at rest. Pure and seeded.

Resting values by genotype (mean ± standard deviation between children) are the project's starting points, in
line with what is published:

- oxygen saturation: children with SS run lower in steady state, 95 ± 2.5 % (Quinn & Ahmad, Br J Haematol
  2005); SC and the AS trait are close to healthy children, 98 ± 1 %;
- heart and respiratory rate: medians by age (Fleming et al., Lancet 2011), ± 8 and ± 2 /min; the heart rate
  of SS includes 8 /min for anaemia;
- core temperature: 36.8 ± 0.2 °C (mean of Mackowiak et al., JAMA 1992).

Within a child each vital follows a first-order autoregression around that child's own resting value.
Children are made up and ranges are from textbooks: the simulated data are not clinical evidence.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from itertools import count, islice
from random import Random

CORRELATION = 0.9
"""Correlation between consecutive deviations from the resting value."""


class Genotype(StrEnum):
    """Haemoglobin genotypes of the simulated children; AS is the carrier state, not a disease."""

    SS = "SS"
    AS = "AS"
    SC = "SC"


@dataclass(frozen=True, slots=True)
class Patient:
    """One simulated child.

    Attributes:
        patient_id: made-up identifier.
        genotype: haemoglobin genotype.
        age_years: age for which the resting values hold.
    """

    patient_id: str
    genotype: Genotype
    age_years: int


_AGES = {Genotype.SS: 8, Genotype.AS: 15, Genotype.SC: 12}


def patients() -> Iterator[Patient]:
    """Yield children without end: SS 8 y, AS 15 y, SC 12 y, then the same genotypes again."""
    for number in count(1):
        genotype = tuple(_AGES)[(number - 1) % len(_AGES)]
        yield Patient(f"patient-{number:03d}-{genotype.lower()}", genotype, _AGES[genotype])


THREE_PATIENTS = tuple(islice(patients(), 3))
"""The children of the simple simulator."""


@dataclass(frozen=True, slots=True)
class Vitals:
    """One number per vital: values, standard deviations or differences.

    Attributes:
        spo2: oxygen saturation, %.
        heart_rate: /min.
        respiratory_rate: /min.
        temperature: °C.
    """

    spo2: float = 0.0
    heart_rate: float = 0.0
    respiratory_rate: float = 0.0
    temperature: float = 0.0

    def __add__(self, other: Vitals) -> Vitals:
        return Vitals(
            self.spo2 + other.spo2,
            self.heart_rate + other.heart_rate,
            self.respiratory_rate + other.respiratory_rate,
            self.temperature + other.temperature,
        )

    def scaled(self, by: Vitals) -> Vitals:
        """Return the element-wise product."""
        return Vitals(
            self.spo2 * by.spo2,
            self.heart_rate * by.heart_rate,
            self.respiratory_rate * by.respiratory_rate,
            self.temperature * by.temperature,
        )


@dataclass(frozen=True, slots=True)
class RestingValues:
    """Resting values of a genotype: mean, and standard deviation between children."""

    mean: Vitals
    spread: Vitals


RESTING = {
    Genotype.SS: RestingValues(Vitals(95, 96, 21, 36.8), Vitals(2.5, 8, 2, 0.2)),
    Genotype.SC: RestingValues(Vitals(98, 82, 19, 36.8), Vitals(1, 8, 2, 0.2)),
    Genotype.AS: RestingValues(Vitals(98, 75, 17, 36.8), Vitals(1, 8, 2, 0.2)),
}
WITHIN_CHILD = Vitals(0.7, 3, 1, 0.05)
"""Standard deviation of one child's readings around its resting value."""


class RestingBody:
    """The vitals of one child at rest.

    The child's resting values are drawn within one standard deviation of the genotype's mean, so that a child
    of the simple simulator is never critical at rest.

    Args:
        genotype: the child's genotype.
        random: random number generator; the same seed gives the same values.
    """

    def __init__(self, genotype: Genotype, random: Random) -> None:
        self._random = random
        resting = RESTING[genotype]
        self.resting = resting.mean + resting.spread.scaled(self._draw(lambda: random.uniform(-1, 1)))
        self._deviation = WITHIN_CHILD.scaled(self._draw(self._normal))

    def next(self) -> Vitals:
        """Return the next values."""
        noise = WITHIN_CHILD.scaled(self._draw(self._normal))
        noise_share = math.sqrt(1 - CORRELATION**2)
        self._deviation = self._deviation.scaled(_all(CORRELATION)) + noise.scaled(_all(noise_share))
        return self.resting + self._deviation

    def _normal(self) -> float:
        return self._random.gauss(0, 1)

    @staticmethod
    def _draw(number: Callable[[], float]) -> Vitals:
        return Vitals(number(), number(), number(), number())


def _all(factor: float) -> Vitals:
    return Vitals(factor, factor, factor, factor)
