"""Five-minute windows per child, computed from raw. Pure: DataFrame -> DataFrame.

A window is computed again from all its readings whenever one of them arrives, however late; the watermark
only tells when it is final.
"""

from __future__ import annotations

from functools import reduce
from operator import add, or_

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F  # noqa: N812

from lakehouse import schemas
from lakehouse.schemas import alert_count
from vitals import limits
from vitals.limits import VITALS, AlarmLimits
from vitals.rules import AlertType

WINDOW_US = 5 * 60 * 1_000_000
WATERMARK_US = 10 * 60 * 1_000_000
"""Length of a window, and how long after its end it becomes final, in microseconds."""

_MINUTE_US = 60 * 1_000_000
_KEY = ("patient_id", "window_start", "window_end")
_MINUTES = ("minutes_with_data", "minutes_spo2_below_threshold", "minutes_with_fever")
SINK_COLUMNS = ("revision", "is_final", "updated_at")
"""Columns of a window that only the table's history can tell."""


def with_window(raw: DataFrame) -> DataFrame:
    """Readings with the start and end of the window they belong to."""
    time = F.unix_micros("timestamp")
    start = time - F.pmod(time, F.lit(WINDOW_US))
    return raw.withColumns(
        {
            "window_start": F.timestamp_micros(start),
            "window_end": F.timestamp_micros(start + F.lit(WINDOW_US)),
        }
    )


def touched(raw: DataFrame) -> DataFrame:
    """The (patient, window) pairs that readings belong to, times in microseconds since 1970.

    Returns:
        `patient_id, window_start, readings, newest, seen`; `seen` is the newest timestamp to be believed: a
        reading counts at most with the time it came in, so that a fast clock makes nobody's window final.
    """
    seen = F.least("timestamp", "ingestion_timestamp", F.current_timestamp())
    return (
        with_window(raw)
        .groupBy("patient_id", F.unix_micros("window_start").alias("window_start"))
        .agg(
            F.count("*").alias("readings"),
            F.unix_micros(F.max("timestamp")).alias("newest"),
            F.unix_micros(F.max(seen)).alias("seen"),
        )
    )


def plausible(field: str) -> Column:
    """A vital's value where a body can have it, else null."""
    vital = limits.BY_FIELD[field]
    above = F.col(field) >= vital.low if vital.low_included else F.col(field) > vital.low
    return F.when(above & (F.col(field) <= vital.high), F.col(field))


def rule(kind: AlertType) -> Column:
    """Whether a raw reading meets a critical rule; the boundaries are `vitals.limits`."""
    met = {vital.alarm.alert_type: _crossed(vital.field, vital.alarm) for vital in VITALS if vital.alarm}
    low_spo2 = plausible(limits.SPO2.field) <= limits.SPO2_WITH_FEVER_UP_TO
    met[AlertType.CRITICAL_FEVER_SPO2] = met[AlertType.CRITICAL_TEMPERATURE] & low_spo2
    return F.coalesce(met[kind], F.lit(False))


def _crossed(field: str, alarm: AlarmLimits) -> Column:
    value, sides = plausible(field), []
    if low := alarm.low:
        sides.append(value <= low.critical if low.included else value < low.critical)
    if high := alarm.high:
        sides.append(value >= high.critical if high.included else value > high.critical)
    return reduce(or_, sides)


def has_invalid() -> Column:
    """Whether a reading holds a value that no body can have."""
    return reduce(or_, (F.col(f).isNotNull() & plausible(f).isNull() for f in schemas.VITAL_FIELDS))


def windows(raw: DataFrame) -> DataFrame:
    """Aggregate readings (`schemas.RAW`, copies allowed) into `schemas.WINDOWS` less `SINK_COLUMNS`.

    `count`, also called `received`, is distinct readings. `expected` is how many a whole window holds at the
    pace of the bracelet that sent most: sequence numbers tell the pace even where readings are missing.
    `coverage_pct` is received of expected. Minimum, mean and maximum are over plausible values.
    """
    readings = with_window(raw.dropDuplicates(["message_id"]))
    per_bracelet = readings.groupBy(*_KEY, "device_id", "boot").agg(*_of_readings())
    per_child = per_bracelet.withColumn("pace", _readings_a_window()).groupBy(*_KEY).agg(*_of_bracelets())
    counts = [F.col(alert_count(kind)) for kind in schemas.CRITICAL_TYPES]
    columns = {
        **{f"{f}_mean": F.try_divide(f"{f}_sum", f"{f}_values") for f in schemas.VITAL_FIELDS},
        **{f"has_{kind.value.lower()}": F.col(alert_count(kind)) > 0 for kind in schemas.CRITICAL_TYPES},
        **{name: F.bit_count(F.coalesce(name, F.lit(0))).cast("long") for name in _MINUTES},
        "has_invalid_values": F.col("invalid") > 0,
        "alerts": reduce(add, counts),
        "count": F.col("received"),
        "expected": F.greatest("received", "expected"),
        "coverage_pct": F.round(100 * F.col("received") / F.greatest("received", "expected"), 1),
    }
    names = [name for name in schemas.WINDOWS.fieldNames() if name not in SINK_COLUMNS]
    return per_child.withColumns(columns).select(*names)


def _of_readings() -> list[Column]:
    columns = [
        F.count("*").alias("received"),
        F.coalesce(F.max("seq") - F.min("seq"), F.count("*") - 1).alias("steps"),
        (F.unix_micros(F.max("timestamp")) - F.unix_micros(F.min("timestamp"))).alias("span"),
        F.sum(has_invalid().cast("long")).alias("invalid"),
    ]
    for field in schemas.VITAL_FIELDS:
        columns += [
            F.min(plausible(field)).alias(f"{field}_min"),
            F.max(plausible(field)).alias(f"{field}_max"),
            F.sum(plausible(field)).alias(f"{field}_sum"),
            F.count(plausible(field)).alias(f"{field}_values"),
        ]
    columns += [F.sum(rule(kind).cast("long")).alias(alert_count(kind)) for kind in schemas.CRITICAL_TYPES]
    minute = F.pmod(F.floor(F.unix_micros("timestamp") / F.lit(_MINUTE_US)), F.lit(5))
    bit = F.element_at(F.array(*(F.lit(1 << n) for n in range(5))), (minute + 1).cast("int"))
    which = (F.lit(True), rule(AlertType.CRITICAL_SPO2), rule(AlertType.CRITICAL_TEMPERATURE))
    return columns + [
        F.bit_or(F.when(met, bit)).alias(name) for name, met in zip(_MINUTES, which, strict=True)
    ]


def _of_bracelets() -> list[Column]:
    columns = [F.sum("received").alias("received"), F.sum("invalid").alias("invalid")]
    columns.append(F.max_by("pace", "received").alias("expected"))
    for field in schemas.VITAL_FIELDS:
        columns += [
            F.min(f"{field}_min").alias(f"{field}_min"),
            F.max(f"{field}_max").alias(f"{field}_max"),
            F.sum(f"{field}_sum").alias(f"{field}_sum"),
            F.sum(f"{field}_values").alias(f"{field}_values"),
        ]
    columns += [F.sum(alert_count(kind)).alias(alert_count(kind)) for kind in schemas.CRITICAL_TYPES]
    return columns + [F.bit_or(name).alias(name) for name in _MINUTES]


def _readings_a_window() -> Column:
    """How many readings a whole window would hold at this bracelet's pace; unknown pace: what it sent."""
    known = (F.col("steps") > 0) & (F.col("span") > 0)
    pace = F.round(F.lit(WINDOW_US) * F.col("steps") / F.col("span")).cast("long")
    return F.when(known, pace).otherwise(F.col("received"))
