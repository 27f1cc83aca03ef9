"""Idempotent writes into Delta tables: a replayed micro-batch changes nothing."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from delta.tables import DeltaTable
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.types import StructType

from lakehouse import schemas, silver
from lakehouse.settings import Layout

RAW = "raw/iot_measurements"
ERRORS = "raw/errors"
ALERTS = "bronze/iot_alerts"
STATUS = "bronze/device_status"
WINDOWS = "bronze/iot_aggregations"
CRITICAL = "silver/critical_alerts"
DAILY = "gold/patient_daily"

TABLES: dict[str, StructType] = {
    RAW: schemas.RAW,
    ERRORS: schemas.ERRORS,
    ALERTS: schemas.ALERTS,
    STATUS: schemas.STATUS,
    WINDOWS: schemas.WINDOWS,
    CRITICAL: schemas.ALERTS,
    DAILY: schemas.DAILY,
}
_LAYOUT_KEY = {RAW: "patient_id"}
_PROPERTIES = {
    "delta.logRetentionDuration": "interval 2 days",
    "delta.deletedFileRetentionDuration": "interval 2 days",
}
"""Short, because a commit every few seconds creates tens of thousands of log files per day."""


@dataclass(frozen=True, slots=True)
class MicroBatch:
    """The micro-batch a write belongs to; Delta accepts each (app, number) once per table.

    Attributes:
        app: id of the query's checkpoint. A new checkpoint counts from 0 and needs a new id.
        number: Spark's number of the micro-batch.
    """

    app: str
    number: int

    def __str__(self) -> str:
        return f"{self.app}/{self.number}"


@dataclass(frozen=True, slots=True)
class Tables:
    """The Delta tables under one directory."""

    spark: SparkSession
    path: Path

    def location(self, table: str) -> str:
        """Return the directory of a table."""
        return str(self.path / table)

    def create(self, layout: Layout) -> None:
        """Create missing tables, so that readers find all of them even if they are empty."""
        for table, schema in TABLES.items():
            if DeltaTable.isDeltaTable(self.spark, self.location(table)):
                self._add_missing_columns(table, schema)
                continue
            builder = DeltaTable.createIfNotExists(self.spark).location(self.location(table))
            builder = builder.addColumns(schema)
            for name, value in _PROPERTIES.items():
                builder = builder.property(name, value)
            if key := _LAYOUT_KEY.get(table):
                builder = builder.clusterBy(key) if layout == "clustered" else builder.partitionedBy(key)
            builder.execute()

    def _add_missing_columns(self, table: str, schema: StructType) -> None:
        """Add the columns that a table from an earlier version lacks; they are null in its old rows."""
        if set(schema.fieldNames()) - set(self.read(table).columns):
            nothing = self.spark.createDataFrame([], schema)
            nothing.write.format("delta").mode("append").option("mergeSchema", "true").save(
                self.location(table)
            )

    def read(self, table: str) -> DataFrame:
        """Return the current content of a table."""
        return self.spark.read.format("delta").load(self.location(table))

    def delta(self, table: str) -> DeltaTable:
        """Return a table for merges and updates."""
        return DeltaTable.forPath(self.spark, self.location(table))

    def append(self, table: str, rows: DataFrame, batch: MicroBatch) -> None:
        """Append a micro-batch's rows; appending the same batch again changes nothing."""
        (
            rows.write.format("delta")
            .mode("append")
            .option("txnAppId", batch.app)
            .option("txnVersion", batch.number)
            .save(self.location(table))
        )

    def insert_new(self, table: str, rows: DataFrame, key: str, batch: MicroBatch) -> int:
        """Insert the rows whose key the table does not have yet; return their number.

        The lake is the table's only writer, so an anti-join and an append are equivalent to a merge, without
        an empty commit if nothing is new.
        """
        existing = self.read(table).select(key)
        new = silver.distinct(rows, key).join(existing, key, "left_anti").select(*rows.columns).persist()
        try:
            if count := new.count():
                self.append(table, new, batch)
            return count
        finally:
            new.unpersist()


def affected(metrics: DataFrame) -> int:
    """Return the number of rows a merge changed."""
    row = metrics.first()
    return int(row["num_affected_rows"]) if row else 0
