"""Critical alerts, each once. Pure: DataFrame -> DataFrame."""

from __future__ import annotations

from pyspark.sql import DataFrame
from pyspark.sql import functions as F  # noqa: N812

from vitals.rules import Severity


def critical(alerts: DataFrame) -> DataFrame:
    """The critical ones among alerts (`schemas.ALERTS`)."""
    return alerts.where(F.col("severity") == Severity.CRITICAL.value)


def once(rows: DataFrame, key: str) -> DataFrame:
    """Each key once. One partition, because a micro-batch is small and a shuffle is not free."""
    return rows.coalesce(1).dropDuplicates([key])
