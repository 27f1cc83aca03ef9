"""The four vitals: names, units, codes, the values a body can have and the values that are critical.

Units are UCUM, codes LOINC. Thresholds are fixed by the clinical contract, shared by gateway and cloud.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True, slots=True)
class Vital:
    """One vital sign.

    Attributes:
        field: its name in a reading.
        name_en, name_fr: what a carer calls it.
        unit: UCUM unit.
        loinc: LOINC codes, most specific first.
        low, high: plausible range; `high` is included, `low` only where `low_included`.
    """

    field: str
    name_en: str
    name_fr: str
    unit: str
    loinc: tuple[str, ...]
    low: float
    high: float
    low_included: bool = False

    @property
    def unit_shown(self) -> str:
        """The unit as people write it."""
        return "°C" if self.unit == "Cel" else self.unit

    def is_plausible(self, value: float) -> bool:
        """Whether a body can have this value; outside, the value is invalid, never critical."""
        return self.low < value <= self.high or (self.low_included and value == self.low)


SPO2 = Vital("spo2_pct", "oxygen saturation", "saturation en oxygène", "%", ("59408-5", "2708-6"), 0, 100)
HEART_RATE = Vital("freq_card", "heart rate", "fréquence cardiaque", "/min", ("8867-4",), 0, 300)
RESPIRATORY_RATE = Vital(
    "freq_resp", "respiratory rate", "fréquence respiratoire", "/min", ("9279-1",), 0, 120
)
TEMPERATURE = Vital(
    "temp_corp", "body temperature", "température", "Cel", ("8310-5",), 25.0, 45.0, low_included=True
)

VITALS = (SPO2, HEART_RATE, RESPIRATORY_RATE, TEMPERATURE)
BY_FIELD = {vital.field: vital for vital in VITALS}

SPO2_CRITICAL_BELOW = 88.0
TEMPERATURE_CRITICAL_FROM = 38.0
HEART_RATE_CRITICAL_BELOW = 40.0
HEART_RATE_CRITICAL_ABOVE = 180.0
SPO2_WITH_FEVER_UP_TO = 92.0

_BOUNDARIES = {
    SPO2.field: (SPO2_CRITICAL_BELOW, SPO2_WITH_FEVER_UP_TO),
    HEART_RATE.field: (HEART_RATE_CRITICAL_BELOW, HEART_RATE_CRITICAL_ABOVE),
    TEMPERATURE.field: (TEMPERATURE_CRITICAL_FROM,),
}

# Battery charge, in percent. "Up to" includes the limit.
BATTERY_LOW_UP_TO_PCT = 15
"""The technical alert and condition LOW_BATTERY (contract, section 4)."""
BATTERY_ALMOST_EMPTY_UP_TO_PCT = 5
"""The condition LOW_BATTERY has priority MEDIUM instead of LOW."""
BATTERY_EXHAUSTED_UP_TO_PCT = 10
"""A bracelet last seen at this charge that is now disconnected has probably run out of battery."""
BATTERY_NOTICE_UP_TO_PCT = 20
"""The charge of a standard Bluetooth device becomes a notice on its link; no alert is raised yet."""

# Age of values.
VALUE_OLD_AFTER = timedelta(seconds=30)
"""A value is shown as old; while an alarm is open, its absence is urgent."""
LATE_AFTER = timedelta(seconds=10)
"""A reading that was measured longer than this before it arrived is late, not live."""
NOTIFIED_UP_TO = timedelta(minutes=15)
"""A critical reading of this age or older goes into the digest and starts no alarm (alarm design, "Time")."""
NO_DATA_AFTER = (timedelta(minutes=2), timedelta(minutes=10), timedelta(minutes=30))
"""Without values, the condition NO_DATA has priority LOW, MEDIUM and HIGH after these times."""
FUTURE_TOLERANCE_S = 300.0
"""A timestamp further ahead of the server's clock than this is quarantined (seconds)."""


def shown(field: str, value: float, digits: int) -> str:
    """A value rounded for people, with more digits where rounding would reach or cross a critical boundary.

    87.6 is critical and 88 is not: it is never shown as 88.
    """
    for precision in range(digits, 4):
        rounded = round(value, precision)
        low, high = sorted((value, rounded))
        if rounded == value or not any(low <= boundary <= high for boundary in _BOUNDARIES.get(field, ())):
            return f"{rounded:.{precision}f}"
    return repr(float(value))
