"""Recomputation of bronze windows and gold days whose input has changed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import reduce
from itertools import pairwise
from operator import or_

from pyspark.sql import Column, DataFrame, Row
from pyspark.sql import functions as F  # noqa: N812

from lakehouse import bronze, gold, schemas
from lakehouse.sinks import DAILY, RAW, WINDOWS, Tables, affected

MAX_RANGES = 16
"""Most time ranges that one update reads from raw; more are merged across the shortest gaps."""


@dataclass(frozen=True, slots=True)
class Recomputed:
    """Result of one update.

    Attributes:
        readings: number of new readings.
        newest: their newest timestamp.
    """

    readings: int
    newest: datetime | None


class WindowRecomputer:
    """Updater of bronze/iot_aggregations, which keeps it consistent with raw.

    The watermark is kept in memory and recovered from the final windows after a restart.
    """

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self._final_to = self._last_final()
        self._finalised_to = 0

    def update(self, new: DataFrame) -> Recomputed:
        """Recompute the windows of these readings; finalise those the watermark has passed.

        Args:
            new: new rows of raw; only used to select the windows.
        """
        pairs = bronze.touched(new).collect()
        if not pairs:
            return Recomputed(0, None)
        watermark = max((row["seen"] for row in pairs if row["seen"] is not None), default=0)
        self._final_to = max(self._final_to, _window_start(watermark - bronze.WATERMARK_US))
        self._merge(pairs)
        if self._final_to > self._finalised_to:
            self._finalise()
            self._finalised_to = self._final_to
        return Recomputed(
            sum(row["readings"] for row in pairs), from_micros(max(row["newest"] for row in pairs))
        )

    def _last_final(self) -> int:
        final = self._tables.read(WINDOWS).where("is_final").agg(F.unix_micros(F.max("window_end"))).first()
        return (final and final[0]) or 0

    def _merge(self, pairs: Sequence[Row]) -> None:
        starts = {row["window_start"] for row in pairs}
        bounds = ranges(starts, bronze.WINDOW_US, MAX_RANGES)
        raw = self._tables.read(RAW).where(
            within("timestamp", bounds) & F.col("patient_id").isin({row["patient_id"] for row in pairs})
        )
        wanted = self._tables.spark.createDataFrame(
            [(row["patient_id"], row["window_start"]) for row in pairs], "patient_id string, start_us long"
        ).select("patient_id", F.timestamp_micros("start_us").alias("window_start"))
        readings = bronze.with_window(raw).join(
            F.broadcast(wanted), ["patient_id", "window_start"], "left_semi"
        )
        windows = bronze.windows(readings.select(*schemas.RAW.fieldNames()))
        final = F.unix_micros("window_end") <= F.lit(self._final_to)
        self._merge_windows(windows.withColumn("is_final", final), within("t.window_start", bounds))

    def _merge_windows(self, windows: DataFrame, where: Column) -> None:
        key = (F.col("t.patient_id") == F.col("s.patient_id")) & (
            F.col("t.window_start") == F.col("s.window_start")
        )
        names = [name for name in schemas.WINDOWS.fieldNames() if name not in bronze.SINK_COLUMNS]
        computed = {name: F.col(f"s.{name}") for name in names} | {"updated_at": F.current_timestamp()}
        before, after = (F.struct(*(F.col(f"{side}.{name}") for name in names)) for side in "ts")
        is_final = F.col("t.is_final") | F.col("s.is_final")
        again = computed | {"revision": F.col("t.revision") + 1, "is_final": is_final}
        first = computed | {"revision": F.lit(1), "is_final": F.col("s.is_final")}
        merge = self._tables.delta(WINDOWS).alias("t").merge(windows.alias("s"), key & where)
        merge = merge.whenMatchedUpdate(condition=~before.eqNullSafe(after), set=dict(again))
        merge.whenNotMatchedInsert(values=dict(first)).execute()

    def _finalise(self) -> None:
        """Mark the windows final that the watermark has passed."""
        passed = (~F.col("is_final")) & (F.col("window_end") <= F.timestamp_micros(F.lit(self._final_to)))
        final = {"is_final": F.lit(True), "updated_at": F.current_timestamp()}
        self._tables.delta(WINDOWS).update(passed, dict(final))


def update_days(tables: Tables) -> int:
    """Recompute the days with changed windows; return the number of gold rows changed."""
    windows = tables.read(WINDOWS)
    stale = gold.stale(windows, tables.read(DAILY)).persist()
    try:
        if stale.isEmpty():
            return 0
        days = gold.with_day(windows).join(F.broadcast(stale), ["patient_id", "day"], "left_semi")
        result = gold.daily(days.select(*schemas.WINDOWS.fieldNames()))
        merge = (
            tables.delta(DAILY)
            .alias("t")
            .merge(result.alias("s"), "t.patient_id = s.patient_id AND t.day = s.day")
        )
        return affected(merge.whenMatchedUpdateAll().whenNotMatchedInsertAll().execute())
    finally:
        stale.unpersist()


def ranges(starts: Iterable[int], width: int, at_most: int) -> list[tuple[int, int]]:
    """Return at most `at_most` ranges [from, to) that cover all windows, merged across the shortest gaps."""
    ordered = sorted(starts)
    gaps = sorted((after - before - width for before, after in pairwise(ordered)), reverse=True)
    largest_merged = gaps[at_most - 1] if len(gaps) >= at_most else 0
    merged: list[tuple[int, int]] = []
    for start in ordered:
        if merged and start - merged[-1][1] <= largest_merged:
            merged[-1] = (merged[-1][0], start + width)
        else:
            merged.append((start, start + width))
    return merged


def within(column: str, bounds: Sequence[tuple[int, int]]) -> Column:
    """Return whether a time is in one of these ranges (µs since 1970); the form lets Delta skip files."""
    time = F.col(column)
    conditions = (
        (time >= F.timestamp_micros(F.lit(first))) & (time < F.timestamp_micros(F.lit(last)))
        for first, last in bounds
    )
    return reduce(or_, conditions)


def from_micros(micros: int) -> datetime:
    """Return the UTC time this many microseconds after 1970."""
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=micros)


def _window_start(micros: int) -> int:
    return micros - micros % bronze.WINDOW_US
