"""One row per child and UTC day, computed from the bronze windows. Pure: DataFrame -> DataFrame."""

from __future__ import annotations

from pyspark.sql import DataFrame
from pyspark.sql import functions as F  # noqa: N812

from lakehouse import schemas
from lakehouse.schemas import alert_count

MINUTES_A_DAY = 24 * 60


def with_day(windows: DataFrame) -> DataFrame:
    """Add the UTC day of each window."""
    return windows.withColumn("day", F.to_date("window_start"))


def stale(windows: DataFrame, days: DataFrame) -> DataFrame:
    """Return the distinct (patient, day) pairs with a window that changed since the day was computed."""
    changed = with_day(windows).groupBy("patient_id", "day").agg(F.max("updated_at").alias("changed_at"))
    computed = days.select("patient_id", "day", F.col("updated_at").alias("computed_at"))
    is_stale = F.col("computed_at").isNull() | (F.col("changed_at") > F.col("computed_at"))
    return changed.join(computed, ["patient_id", "day"], "left").where(is_stale).select("patient_id", "day")


def daily(windows: DataFrame) -> DataFrame:
    """Aggregate windows (`schemas.WINDOWS`) into days (`schemas.DAILY`).

    `coverage_pct` is the percentage of the day's minutes with a reading; a baseline is the median of the
    day's five-minute means of plausible values; a minute is below the threshold with at least one reading
    below 88 % SpO2, and with fever with one of 38.0 °C or more. `updated_at` is the newest of the windows'.
    """
    summed = (
        "received",
        "minutes_with_data",
        "minutes_spo2_below_threshold",
        "minutes_with_fever",
        *(alert_count(kind) for kind in schemas.CRITICAL_TYPES),
        "alerts",
    )
    days = (
        with_day(windows)
        .groupBy("patient_id", "day")
        .agg(
            *(F.sum(name).alias(name) for name in summed),
            *(F.median(f"{field}_mean").alias(f"{field}_baseline") for field in schemas.VITAL_FIELDS),
            F.max("updated_at").alias("updated_at"),
        )
    )
    coverage = F.round(100 * F.col("minutes_with_data") / MINUTES_A_DAY, 1)
    return days.withColumn("coverage_pct", coverage).select(*schemas.DAILY.fieldNames())
