"""How much of a reading can be used, as one number."""

from __future__ import annotations

from vitals.limits import VITALS
from vitals.reading import Reading

MOTION_FACTOR = 0.8
LOW_PERFUSION_FACTOR = 0.8
POOR_CONTACT_FACTOR = 0.5


def quality_score(reading: Reading) -> float:
    """Quality of a reading, 0 to 100.

    The share of the four vitals that are present and plausible, in percent, times 0.8 when the bracelet
    reports motion, times 0.8 for low perfusion and times 0.5 for poor skin contact. The weights are the
    project's own convention for sorting readings; they have no clinical meaning.
    """
    usable = len(reading.measurements.present()) - len(reading.measurements.invalid_fields)
    score = 100.0 * usable / len(VITALS)
    if signal := reading.signal:
        score *= MOTION_FACTOR if signal.motion else 1
        score *= LOW_PERFUSION_FACTOR if signal.low_perfusion else 1
        score *= POOR_CONTACT_FACTOR if signal.contact is False else 1
    return round(score, 1)
