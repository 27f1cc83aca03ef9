"""The quality score of a reading."""

from __future__ import annotations

from vitals.limits import HEART_RATE, RESPIRATORY_RATE, SPO2, TEMPERATURE
from vitals.reading import Reading

_SCORED = (SPO2.field, HEART_RATE.field, RESPIRATORY_RATE.field, TEMPERATURE.field)
"""The four vitals of the contract; the score does not depend on vitals added to the registry."""
MOTION_FACTOR = 0.8
LOW_PERFUSION_FACTOR = 0.8
POOR_CONTACT_FACTOR = 0.5


def quality_score(reading: Reading) -> float:
    """Return the quality of a reading, 0 to 100.

    The share of the four vitals that are present and plausible, in percent, times 0.8 when the bracelet
    reports motion, times 0.8 for low perfusion and times 0.5 for poor skin contact. The weights are the
    project's own convention for sorting readings; they have no clinical meaning.
    """
    plausible = reading.measurements.plausible
    score = 100.0 * sum([plausible(field) is not None for field in _SCORED]) / len(_SCORED)
    if signal := reading.signal:
        score *= MOTION_FACTOR if signal.motion else 1
        score *= LOW_PERFUSION_FACTOR if signal.low_perfusion else 1
        score *= POOR_CONTACT_FACTOR if signal.contact is False else 1
    return round(score, 1)
