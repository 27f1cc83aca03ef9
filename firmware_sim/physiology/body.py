"""Simulated children: who they are and what their bodies do at rest. Pure and seeded.

Resting values by genotype (mean ± standard deviation between children) are the project's starting points, in
line with what is published:

- oxygen saturation: children with SS run lower in steady state, 95 ± 2.5 % (Quinn & Ahmad, Br J Haematol
  2005); SC and the AS trait are close to healthy children, 98 ± 1 %;
- heart and respiratory rate: medians by age (Fleming et al., Lancet 2011), ± 8 and ± 2 /min; the heart rate
  of SS holds 8 /min for its anaemia;
- core temperature: 36.8 ± 0.2 °C (mean of Mackowiak et al., JAMA 1992).

Within a child each vital wanders as a first-order autoregression around that child's own resting value.
Made-up children and textbook ranges: what is simulated here is no clinical evidence.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from itertools import count, islice
from random import Random

CORRELATION = 0.9
"""Share of a deviation that is still there one reading later."""


class Genotype(StrEnum):
    """Haemoglobin genotypes of the simulated children; AS is a carrier, not ill."""

    SS = "SS"
    AS = "AS"
    SC = "SC"


@dataclass(frozen=True, slots=True)
class Patient:
    """One simulated child.

    Attributes:
        patient_id: made-up identifier.
        age_years: age; resting values below hold for it.
    """

    patient_id: str
    genotype: Genotype
    age_years: int


_AGES = {Genotype.SS: 8, Genotype.AS: 15, Genotype.SC: 12}


def patients() -> Iterator[Patient]:
    """Children without end: SS 8 y, AS 15 y, SC 12 y, then the same genotypes again."""
    for number in count(1):
        genotype = tuple(_AGES)[(number - 1) % len(_AGES)]
        yield Patient(f"patient-{number:03d}-{genotype.lower()}", genotype, _AGES[genotype])


THREE_PATIENTS = tuple(islice(patients(), 3))
"""The children of the simple simulator."""


@dataclass(frozen=True, slots=True)
class Vitals:
    """Four numbers that belong together: values, spreads or differences.

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
        """Each number times its counterpart."""
        return Vitals(
            self.spo2 * by.spo2,
            self.heart_rate * by.heart_rate,
            self.respiratory_rate * by.respiratory_rate,
            self.temperature * by.temperature,
        )


@dataclass(frozen=True, slots=True)
class Resting:
    """Resting values of a genotype: mean, and standard deviation between children."""

    mean: Vitals
    spread: Vitals


RESTING = {
    Genotype.SS: Resting(Vitals(95, 96, 21, 36.8), Vitals(2.5, 8, 2, 0.2)),
    Genotype.SC: Resting(Vitals(98, 82, 19, 36.8), Vitals(1, 8, 2, 0.2)),
    Genotype.AS: Resting(Vitals(98, 75, 17, 36.8), Vitals(1, 8, 2, 0.2)),
}
WITHIN_CHILD = Vitals(0.7, 3, 1, 0.05)
"""Standard deviation of one child's readings around its own resting value."""


class Body:
    """One child's body at rest.

    The child's own resting values are drawn within one standard deviation of its genotype's, so that a child
    of the simple simulator is never critical at rest.

    Args:
        genotype: of the child.
        random: source of chance; the same seed gives the same body.
    """

    def __init__(self, genotype: Genotype, random: Random) -> None:
        self._random = random
        resting = RESTING[genotype]
        self.resting = resting.mean + resting.spread.scaled(self._draw(lambda: random.uniform(-1, 1)))
        self._deviation = WITHIN_CHILD.scaled(self._draw(self._normal))

    def next(self) -> Vitals:
        """The values of the next moment."""
        fresh = WITHIN_CHILD.scaled(self._draw(self._normal))
        keep, renew = CORRELATION, math.sqrt(1 - CORRELATION**2)
        self._deviation = self._deviation.scaled(_all(keep)) + fresh.scaled(_all(renew))
        return self.resting + self._deviation

    def _normal(self) -> float:
        return self._random.gauss(0, 1)

    @staticmethod
    def _draw(number: Callable[[], float]) -> Vitals:
        return Vitals(number(), number(), number(), number())


def _all(factor: float) -> Vitals:
    return Vitals(factor, factor, factor, factor)
