"""Critical alerts without duplicates. Pure: DataFrame -> DataFrame."""

from __future__ import annotations

from pyspark.sql import DataFrame
from pyspark.sql import functions as F  # noqa: N812

from vitals.rules import Severity


def critical(alerts: DataFrame) -> DataFrame:
    """Return the critical alerts among alerts (`schemas.ALERTS`)."""
    return alerts.where(F.col("severity") == Severity.CRITICAL.value)


def distinct(rows: DataFrame, key: str) -> DataFrame:
    """Keep one row per key; in one partition, because a micro-batch is small and a shuffle is costly."""
    return rows.coalesce(1).dropDuplicates([key])
