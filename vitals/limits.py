"""The registry of vitals: names, unit, codes, plausible range and alarm limits of each.

Units are UCUM, codes are LOINC. The clinical contract fixes the alarm limits; gateway and cloud share them.

Readings, tables, dashboards and the gateway's page are built from this registry. A new vital needs an entry
here, a codec in `vitals.gatt` where Bluetooth devices send it, and, if it raises an alarm, an alert type in
`vitals.rules` and an alarm group in `vitals.notices` with their texts.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True, slots=True)
class Limit:
    """One side of a vital's alarm: where it starts, and where it may end.

    Attributes:
        key: name of this side in persisted alarm states; never changes.
        critical: boundary of the critical values.
        included: whether the boundary itself is critical.
        clear: the alarm may end at this value and on the safe side of it.
        worse_by: an acknowledged alarm is raised again when the value gets this much worse.
    """

    key: str
    critical: float
    clear: float
    worse_by: float
    included: bool = False


@dataclass(frozen=True, slots=True)
class AlarmLimits:
    """The alarm of one vital.

    Attributes:
        alert_type: an `AlertType`, by value.
        group: a `Group` of alarms, by value.
        hold: how long values must stay within the clear limits until the alarm ends.
        low, high: limits of values that are too low and too high; at least one.
    """

    alert_type: str
    group: str
    hold: timedelta
    low: Limit | None = None
    high: Limit | None = None

    def __post_init__(self) -> None:
        if self.low is None and self.high is None:
            raise ValueError(f"{self.alert_type}: a low or a high limit is needed")
        if self.low is not None and self.low.clear <= self.low.critical:
            raise ValueError(f"{self.alert_type}: the low limit must clear above {self.low.critical:g}")
        if self.high is not None and self.high.clear >= self.high.critical:
            raise ValueError(f"{self.alert_type}: the high limit must clear below {self.high.critical:g}")
        if self.low is not None and self.high is not None and self.low.clear > self.high.clear:
            raise ValueError(f"{self.alert_type}: no value is within both clear limits")

    @property
    def limits(self) -> tuple[Limit, ...]:
        """The limits there are, the low one first."""
        return tuple(limit for limit in (self.low, self.high) if limit is not None)

    def crossed(self, value: float) -> Limit | None:
        """Return the limit that a value violates, or None."""
        low, high = self.low, self.high
        if low is not None and (value < low.critical or (low.included and value == low.critical)):
            return low
        if high is not None and (value > high.critical or (high.included and value == high.critical)):
            return high
        return None


@dataclass(frozen=True, slots=True)
class Vital:
    """One vital sign.

    Attributes:
        field: its name in a reading and in every table.
        name_en, name_fr: full name.
        short_en, short_fr: name within a sentence to carers.
        label_en, label_fr: name where space is scarce.
        unit: UCUM unit.
        loinc: LOINC codes, most specific first.
        low, high: plausible range; `high` is included, `low` only where `low_included`.
        typical: an ordinary value, for examples in documentation.
        digits: decimals shown to carers.
        alarm: when a single value is critical; None for a vital without an alarm.
        combined: boundaries of rules that combine this vital with another.
    """

    field: str
    name_en: str
    name_fr: str
    short_en: str
    short_fr: str
    label_en: str
    label_fr: str
    unit: str
    loinc: tuple[str, ...]
    low: float
    high: float
    typical: float
    low_included: bool = False
    digits: int = 0
    alarm: AlarmLimits | None = None
    combined: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if not (self.field.isidentifier() and self.field.islower()):
            raise ValueError(f"{self.field!r}: a field is a lower-case identifier, as it names a column too")
        if not self.is_plausible(self.typical):
            raise ValueError(f"{self.field}: its typical value is outside the plausible range")
        for limit in self.alarm.limits if self.alarm else ():
            if not (self.low <= limit.critical <= self.high and self.low <= limit.clear <= self.high):
                raise ValueError(f"{self.field}: alarm limits outside the plausible range")

    @property
    def unit_shown(self) -> str:
        """The unit as it is written for people."""
        return "°C" if self.unit == "Cel" else self.unit

    @property
    def clear_range(self) -> tuple[float, float]:
        """Lowest and highest value, both included, at which its alarm may end."""
        low = self.alarm.low if self.alarm else None
        high = self.alarm.high if self.alarm else None
        return low.clear if low else self.low, high.clear if high else self.high

    @property
    def boundaries(self) -> tuple[float, ...]:
        """Every value at which a rule changes its result."""
        return (*(limit.critical for limit in (self.alarm.limits if self.alarm else ())), *self.combined)

    def is_plausible(self, value: float) -> bool:
        """Return whether a value is physiologically possible; others are invalid, never critical."""
        return self.low < value <= self.high or (self.low_included and value == self.low)


SPO2_CRITICAL_BELOW = 88.0
SPO2_WITH_FEVER_UP_TO = 92.0
HEART_RATE_CRITICAL_BELOW = 40.0
HEART_RATE_CRITICAL_ABOVE = 180.0
TEMPERATURE_CRITICAL_FROM = 38.0

SPO2 = Vital(
    field="spo2_pct",
    name_en="oxygen saturation",
    name_fr="saturation en oxygène",
    short_en="SpO2",
    short_fr="SpO2",
    label_en="SpO₂",
    label_fr="SpO₂",
    unit="%",
    loinc=("59408-5", "2708-6"),
    low=0,
    high=100,
    typical=97.0,
    alarm=AlarmLimits(
        alert_type="CRITICAL_SPO2",
        group="SPO2",
        hold=timedelta(seconds=60),
        low=Limit("spo2", critical=SPO2_CRITICAL_BELOW, clear=90.0, worse_by=2.0),
    ),
    combined=(SPO2_WITH_FEVER_UP_TO,),
)
HEART_RATE = Vital(
    field="freq_card",
    name_en="heart rate",
    name_fr="fréquence cardiaque",
    short_en="heart rate",
    short_fr="pouls",
    label_en="Heart",
    label_fr="Pouls",
    unit="/min",
    loinc=("8867-4",),
    low=0,
    high=300,
    typical=92.0,
    alarm=AlarmLimits(
        alert_type="CRITICAL_HEART_RATE",
        group="HR",
        hold=timedelta(seconds=60),
        low=Limit("hr_low", critical=HEART_RATE_CRITICAL_BELOW, clear=45.0, worse_by=15.0),
        high=Limit("hr_high", critical=HEART_RATE_CRITICAL_ABOVE, clear=170.0, worse_by=15.0),
    ),
)
RESPIRATORY_RATE = Vital(
    field="freq_resp",
    name_en="respiratory rate",
    name_fr="fréquence respiratoire",
    short_en="respiratory rate",
    short_fr="fréquence respiratoire",
    label_en="Breaths",
    label_fr="Resp.",
    unit="/min",
    loinc=("9279-1",),
    low=0,
    high=120,
    typical=18.0,
)
TEMPERATURE = Vital(
    field="temp_corp",
    name_en="body temperature",
    name_fr="température",
    short_en="temperature",
    short_fr="température",
    label_en="Temp.",
    label_fr="Temp.",
    unit="Cel",
    loinc=("8310-5",),
    low=25.0,
    low_included=True,
    high=45.0,
    typical=36.8,
    digits=1,
    alarm=AlarmLimits(
        alert_type="CRITICAL_TEMPERATURE",
        group="TEMP",
        hold=timedelta(minutes=10),
        high=Limit("temp", critical=TEMPERATURE_CRITICAL_FROM, included=True, clear=37.7, worse_by=0.5),
    ),
)

VITALS: tuple[Vital, ...] = (SPO2, HEART_RATE, RESPIRATORY_RATE, TEMPERATURE)
"""Every vital, in the order in which tables and screens show them."""
BY_FIELD: dict[str, Vital] = {vital.field: vital for vital in VITALS}

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
"""A value is shown as old; while an alarm is open, the absence of a newer one is urgent."""
LATE_AFTER = timedelta(seconds=10)
"""A reading that was measured longer than this before it arrived is late, not live."""
NOTIFIED_UP_TO = timedelta(minutes=15)
"""A critical reading of this age or older is not notified on its own; it goes into the digest."""
NO_DATA_AFTER = (timedelta(minutes=2), timedelta(minutes=10), timedelta(minutes=30))
"""Without values, the condition NO_DATA has priority LOW, MEDIUM and HIGH after these times."""
FUTURE_TOLERANCE_S = 300.0
"""A timestamp further ahead of the server's clock than this is quarantined (seconds)."""


def register(vital: Vital) -> None:
    """Add a vital to the registry of this process.

    Call it before any other module of the project is imported: they build models, tables and queries from the
    registry when they are imported. An alarm's alert type and group must exist in `vitals.rules` and
    `vitals.notices`, which raise on import otherwise.

    Raises:
        RuntimeError: `vitals.reading` was imported already.
        ValueError: the registry has a vital with this field.
    """
    global VITALS
    if "vitals.reading" in sys.modules:
        raise RuntimeError(f"register {vital.field} before vitals.reading is imported")
    if vital.field in BY_FIELD:
        raise ValueError(f"{vital.field} is registered already")
    VITALS = (*VITALS, vital)
    BY_FIELD[vital.field] = vital


def shown(field: str, value: float, digits: int) -> str:
    """Return a value rounded for people, with more digits where rounding would reach or cross a boundary.

    87.6 is critical and 88 is not: it is never shown as 88.
    """
    for precision in range(digits, 4):
        rounded = round(value, precision)
        low, high = sorted((value, rounded))
        if rounded == value or not any(low <= each <= high for each in BY_FIELD[field].boundaries):
            return f"{rounded:.{precision}f}"
    return repr(float(value))
