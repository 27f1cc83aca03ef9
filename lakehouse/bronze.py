"""Five-minute windows per child, computed from raw. Pure: DataFrame -> DataFrame.

A window is recomputed from all its readings whenever one of them arrives, however late; the watermark only
decides when it is final.
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
"""Columns of a window that depend on the table's history."""


def with_window(raw: DataFrame) -> DataFrame:
    """Add the start and end of each reading's window."""
    time = F.unix_micros("timestamp")
    start = time - F.pmod(time, F.lit(WINDOW_US))
    return raw.withColumns(
        {
            "window_start": F.timestamp_micros(start),
            "window_end": F.timestamp_micros(start + F.lit(WINDOW_US)),
        }
    )


def touched(raw: DataFrame) -> DataFrame:
    """Return the (patient, window) pairs of readings; times are microseconds since 1970.

    Returns:
        `patient_id, window_start, readings, newest, seen`; `seen` is the newest trusted timestamp, at most
        the ingestion time, so that a fast clock cannot make other children's windows final.
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
    """Return a vital's value if it is plausible, else null."""
    vital = limits.BY_FIELD[field]
    above = F.col(field) >= vital.low if vital.low_included else F.col(field) > vital.low
    return F.when(above & (F.col(field) <= vital.high), F.col(field))


def rule(kind: AlertType) -> Column:
    """Return whether a raw reading meets a critical rule, with the limits of `vitals.limits`."""
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
    """Return whether a reading has a physiologically implausible value."""
    return reduce(or_, (F.col(f).isNotNull() & plausible(f).isNull() for f in schemas.VITAL_FIELDS))


def windows(raw: DataFrame) -> DataFrame:
    """Aggregate readings (`schemas.RAW`, duplicates allowed) into `schemas.WINDOWS` without `SINK_COLUMNS`.

    `count`, also `received`, is the number of distinct readings. `expected` is the number in a full window at
    the rate of the bracelet that sent most: sequence numbers give the rate even if readings are missing.
    `coverage_pct` is received / expected. Minimum, mean and maximum are over plausible values.
    """
    readings = with_window(raw.dropDuplicates(["message_id"]))
    per_bracelet = readings.groupBy(*_KEY, "device_id", "boot").agg(*_reading_aggregates())
    per_child = (
        per_bracelet.withColumn("rate", _readings_per_window()).groupBy(*_KEY).agg(*_bracelet_aggregates())
    )
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


def _reading_aggregates() -> list[Column]:
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


def _bracelet_aggregates() -> list[Column]:
    columns = [F.sum("received").alias("received"), F.sum("invalid").alias("invalid")]
    columns.append(F.max_by("rate", "received").alias("expected"))
    for field in schemas.VITAL_FIELDS:
        columns += [
            F.min(f"{field}_min").alias(f"{field}_min"),
            F.max(f"{field}_max").alias(f"{field}_max"),
            F.sum(f"{field}_sum").alias(f"{field}_sum"),
            F.sum(f"{field}_values").alias(f"{field}_values"),
        ]
    columns += [F.sum(alert_count(kind)).alias(alert_count(kind)) for kind in schemas.CRITICAL_TYPES]
    return columns + [F.bit_or(name).alias(name) for name in _MINUTES]


def _readings_per_window() -> Column:
    """Return the readings in a full window at this bracelet's rate; if unknown, the readings it sent."""
    has_rate = (F.col("steps") > 0) & (F.col("span") > 0)
    per_window = F.round(F.lit(WINDOW_US) * F.col("steps") / F.col("span")).cast("long")
    return F.when(has_rate, per_window).otherwise(F.col("received"))
