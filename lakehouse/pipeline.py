"""The queries, their sources and their tables. Wiring only."""

from __future__ import annotations

import json
import logging
import shutil
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from uuid import uuid4

from pyspark.sql import DataFrame, Row, SparkSession
from pyspark.sql.streaming.query import StreamingQuery

from lakehouse import flows, kafka, raw, silver, sinks
from lakehouse.flows import StatusBoard
from lakehouse.recompute import WindowRecomputer, from_micros, update_days
from lakehouse.settings import LakeSettings
from lakehouse.sinks import MicroBatch, Tables
from lakehouse.supervisor import BatchGate, ManagedQuery, QuerySupervisor
from vitals import topics

log = logging.getLogger(__name__)

ROWS_A_BATCH = 100_000
BYTES_A_BATCH = "64m"
INGEST_EVERY = "500 milliseconds"
WINDOWS_EVERY = "10 seconds"
DAYS_EVERY_S = 60.0
_ONE_FILE_UP_TO = 20_000
_TOPIC_OF = {
    flows.MEASUREMENTS: topics.MEASUREMENTS,
    flows.ERRORS: topics.ERRORS,
    flows.ALERTS: topics.ALERTS,
    flows.DEVICE_STATUS: topics.DEVICE_STATUS,
    flows.CRITICAL_ALERTS: topics.ALERTS,
}
_TABLE_OF = {
    flows.MEASUREMENTS: sinks.RAW,
    flows.ERRORS: sinks.ERRORS,
    flows.ALERTS: sinks.ALERTS,
    flows.DEVICE_STATUS: sinks.STATUS,
    flows.CRITICAL_ALERTS: sinks.CRITICAL,
}


@dataclass(frozen=True, slots=True)
class FlowRows:
    """Rows of a micro-batch that belong to one flow."""

    rows: int
    newest: datetime | None


class Pipeline:
    """All flows of one lake.

    Args:
        spark: session with Delta and the Kafka connector.
        settings: settings of the lake.
    """

    def __init__(self, spark: SparkSession, settings: LakeSettings) -> None:
        self._spark, self._settings = spark, settings
        self.board = StatusBoard(settings.status)
        self._tables = Tables(spark, settings.path)
        self._stop = threading.Event()
        self._ingest_gate, self._windows_gate = BatchGate(self._stop), BatchGate(self._stop)
        self._pool = ThreadPoolExecutor(4, thread_name_prefix="sink")

    def run(self) -> None:
        """Run until `stop` is called."""
        if self._settings.reset_checkpoints:
            discard_checkpoints(self._settings)
        self._tables.create(self._settings.layout)
        self._count_rows()
        threads = [
            threading.Thread(target=QuerySupervisor(query, self.board, self._stop).run, name=query.name)
            for query in (self._ingest(), self._windows())
        ]
        threads.append(threading.Thread(target=self._days, name="days"))
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self._pool.shutdown()

    def stop(self) -> None:
        """Stop after the running micro-batches."""
        self._stop.set()

    def _count_rows(self) -> None:
        for flow, table in _TABLE_OF.items():
            self.board.set_rows(flow, self._tables.read(table).count())

    # --- Kafka -> raw, bronze alerts and status, silver ----------------------------------------------------

    def _ingest(self) -> ManagedQuery:
        return ManagedQuery(
            "ingest",
            tuple(_TABLE_OF),
            self._start_ingest,
            self._ingest_gate,
            lag_behind_kafka,
            lambda: kafka.unreachable_reason(self._settings.bootstrap_servers),
        )

    def _start_ingest(self) -> StreamingQuery:
        messages = (
            self._spark.readStream.format("kafka")
            .option("kafka.bootstrap.servers", self._settings.bootstrap_servers)
            # A pattern, so that a topic that does not exist yet is not an error.
            .option("subscribePattern", "|".join(topics.KAFKA_TOPICS))
            .option("startingOffsets", self._settings.first_offsets)
            .option("failOnDataLoss", str(self._settings.fail_on_data_loss).lower())
            .option("maxOffsetsPerTrigger", ROWS_A_BATCH)
            .option("kafka.default.api.timeout.ms", 15_000)
            .option("kafka.request.timeout.ms", 10_000)
            .option("kafkaConsumer.pollTimeoutMs", 20_000)
            .load()
        )
        stream = raw.from_kafka(messages)
        return self._started("ingest", stream, self._write_messages, self._ingest_gate, INGEST_EVERY)

    def _write_messages(self, messages: DataFrame, batch: MicroBatch) -> None:
        messages = raw.parsed(messages.coalesce(2)).persist()
        try:
            rows = rows_by_flow(raw.summary(messages).collect())
            writes = [
                self._pool.submit(self._write_flow, flow, messages, batch, rows[flow])
                for flow in self._writers()
                if flow in rows
            ]
            for write in writes:
                write.result()
        finally:
            messages.unpersist()

    def _writers(self) -> dict[str, Callable[[DataFrame, MicroBatch], int | None]]:
        """Return each flow's writer, most urgent first; writers return the number of new rows, or None."""
        tables = self._tables
        return {
            flows.CRITICAL_ALERTS: lambda m, b: tables.insert_new(
                sinks.CRITICAL, silver.critical(raw.alerts(m)), "alert_id", b
            ),
            flows.MEASUREMENTS: lambda m, b: tables.append(sinks.RAW, raw.measurements(m), b),
            flows.ALERTS: lambda m, b: tables.insert_new(sinks.ALERTS, raw.alerts(m), "alert_id", b),
            flows.DEVICE_STATUS: lambda m, b: tables.insert_new(
                sinks.STATUS, raw.device_status(m), "status_id", b
            ),
            flows.ERRORS: lambda m, b: tables.append(sinks.ERRORS, raw.errors(m), b),
        }

    def _write_flow(self, flow: str, messages: DataFrame, batch: MicroBatch, contained: FlowRows) -> None:
        if contained.rows <= _ONE_FILE_UP_TO:
            messages = messages.coalesce(1)
        new = self._writers()[flow](messages, batch)
        self.board.record_commit(flow, str(batch), contained.rows if new is None else new, contained.newest)

    # --- raw -> bronze windows, gold days ------------------------------------------------------------------

    def _windows(self) -> ManagedQuery:
        return ManagedQuery(
            "windows", (flows.AGGREGATIONS,), self._start_windows, self._windows_gate, self._lag_behind_raw
        )

    def _start_windows(self) -> StreamingQuery:
        windows = WindowRecomputer(self._tables)

        def write(new: DataFrame, batch: MicroBatch) -> None:
            result = windows.update(new)
            if result.readings:
                self.board.record_commit(flows.AGGREGATIONS, str(batch), result.readings, result.newest)

        stream = (
            self._spark.readStream.format("delta")
            .option("skipChangeCommits", "true")
            .option("maxBytesPerTrigger", BYTES_A_BATCH)
            .load(self._tables.location(sinks.RAW))
        )
        return self._started("windows", stream, write, self._windows_gate, WINDOWS_EVERY)

    def _lag_behind_raw(self, query: StreamingQuery) -> Mapping[str, int | None]:
        if not query.lastProgress:
            return {flows.AGGREGATIONS: None}
        if not (query.status["isDataAvailable"] or query.status["isTriggerActive"]):
            return {flows.AGGREGATIONS: 0}
        behind = self.board.read(flows.MEASUREMENTS).rows - self.board.read(flows.AGGREGATIONS).rows
        return {flows.AGGREGATIONS: max(0, behind)}

    def _days(self) -> None:
        while not self._stop.wait(DAYS_EVERY_S):
            try:
                if rows := update_days(self._tables):
                    self.board.record_commit(flows.PATIENT_DAILY, str(uuid4()), rows, None)
            except Exception as error:  # noqa: BLE001 - the outermost edge of the job: the next run repeats it
                log.error("days failed, retrying in %.0f s: %s", DAYS_EVERY_S, error)
                self.board.record_failure(flows.PATIENT_DAILY, str(error)[:500])

    def _started(
        self,
        name: str,
        stream: DataFrame,
        write: Callable[[DataFrame, MicroBatch], None],
        gate: BatchGate,
        every: str,
    ) -> StreamingQuery:
        app = app_id(self._settings, name)

        def write_batch(rows: DataFrame, number: int) -> None:
            with gate.batch():
                write(rows, MicroBatch(app, number))

        return (
            stream.writeStream.queryName(name)
            .option("checkpointLocation", str(self._settings.checkpoints / name))
            .trigger(processingTime=every)
            .foreachBatch(write_batch)
            .start()
        )


def app_id(settings: LakeSettings, query: str) -> str:
    """Return the id of a query's checkpoint, stored inside it so that both are deleted together.

    If it outlived the checkpoint, Delta would take new batches for old ones and ignore them.
    """
    path = settings.checkpoints / query / "kidjamo_app_id"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        scratch = path.with_suffix(".new")
        scratch.write_text(f"{query}-{uuid4()}")
        scratch.replace(path)
    return path.read_text()


def discard_checkpoints(settings: LakeSettings) -> None:
    """Delete the checkpoints of all queries, and their app ids with them."""
    log.warning("RESET_STREAMING_CHECKPOINTS: reading everything in Kafka again; raw will have duplicates")
    if settings.checkpoints.exists():
        aside = settings.path / f"_checkpoints.{uuid4().hex[:8]}"
        settings.checkpoints.rename(aside)  # atomic: a partial checkpoint would be worse than none
        shutil.rmtree(aside)


def rows_by_flow(summary: list[Row]) -> dict[str, FlowRows]:
    """Group the rows of `raw.summary` by flow; flows without rows are absent."""
    grouped: dict[str, FlowRows] = {}
    for row in summary:
        newest = from_micros(row["newest"]) if row["newest"] is not None else None
        for flow in _flows_of(row):
            before = grouped.get(flow, FlowRows(0, None))
            times = [time for time in (before.newest, newest) if time]
            grouped[flow] = FlowRows(before.rows + row["count"], max(times, default=None))
    return grouped


def _flows_of(row: Row) -> Iterator[str]:
    if not row["readable"]:
        yield flows.ERRORS
        return
    yield next(flow for flow, topic in _TOPIC_OF.items() if topic == row["kafka_topic"])
    if row["kafka_topic"] == topics.ALERTS and row["critical"]:
        yield flows.CRITICAL_ALERTS


def lag_behind_kafka(query: StreamingQuery) -> Mapping[str, int | None]:
    """Return the messages on Kafka that the last micro-batch did not read."""
    progress = query.lastProgress
    if not progress:
        return dict.fromkeys(_TOPIC_OF)
    source = progress["sources"][0]
    latest, read = _offsets(source["latestOffset"]), _offsets(source["endOffset"])
    behind = {
        topic: sum(end - read.get(topic, {}).get(partition, 0) for partition, end in partitions.items())
        for topic, partitions in latest.items()
    }
    return {flow: behind.get(topic, 0) for flow, topic in _TOPIC_OF.items()}


def _offsets(text: str | dict[str, dict[str, int]] | None) -> dict[str, dict[str, int]]:
    offsets = json.loads(text) if isinstance(text, str) else text
    return offsets or {}
