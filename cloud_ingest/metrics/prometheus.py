"""The metrics of the API in the Prometheus text format."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector

CONTENT_TYPE = CONTENT_TYPE_LATEST

_GAUGES = {
    "api_uptime_s": ("kidjamo_api_uptime_seconds", "Seconds since the API started"),
    "throughput_eps": ("kidjamo_readings_per_second", "Accepted readings a second, over the last minute"),
    "valid_pct": ("kidjamo_valid_percent", "Share of accepted readings without an invalid value"),
    "spool_pending": ("kidjamo_spool_pending_records", "Records waiting for Kafka"),
    "spool_bytes": ("kidjamo_spool_bytes", "Bytes the spool uses"),
    "spool_files_set_aside": ("kidjamo_spool_files_set_aside", "Corrupt spool files set aside"),
    "reconciliation_difference": (
        "kidjamo_ingest_reconciliation_difference",
        "Records confirmed to senders that are neither in Kafka nor in the spool; 0 when balanced",
    ),
}
_COUNTERS = {
    "processed_messages": ("kidjamo_readings_accepted", "Readings accepted"),
    "rejected_messages": ("kidjamo_readings_rejected", "Readings refused"),
    "spooled_records": ("kidjamo_records_spooled", "Records written to the spool"),
    "replayed_records": ("kidjamo_records_replayed", "Records sent from the spool to Kafka"),
    "csv_rows_dropped": ("kidjamo_csv_rows_dropped", "Rows not written to the metrics CSV"),
}
_LABELLED = {
    "kafka_topics": ("kidjamo_kafka_acknowledged", "Records acknowledged by Kafka", "topic"),
    "alerts_by_type": ("kidjamo_alerts", "Alerts raised", "type"),
}
_QUANTILES = {"0.5": "latency_p50_s", "0.95": "latency_p95_s", "0.99": "latency_p99_s"}


def exposition(snapshot: Mapping[str, Any]) -> bytes:
    """Return a metrics snapshot in the text format."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Snapshot(snapshot))
    return generate_latest(registry)


def wants_prometheus(accept: str | None) -> bool:
    """Return whether an Accept header prefers the text format to JSON; False where both have equal weight."""
    text = max(_weight(accept, kind) for kind in ("text/plain", "application/openmetrics-text"))
    return text > _weight(accept, "application/json")


def _weight(accept: str | None, kind: str) -> float:
    """Return the weight of a media type, from the most specific range that matches it (RFC 9110, 12.5.1)."""
    entries = dict(_entry(entry) for entry in reversed((accept or "").lower().split(",")))
    ranges = (kind, kind.partition("/")[0] + "/*", "*/*")
    return next((entries[name] for name in ranges if name in entries), 0.0)


def _entry(text: str) -> tuple[str, float]:
    name, *parameters = (part.strip() for part in text.split(";"))
    quality = next((part[2:] for part in parameters if part.startswith("q=")), "1")
    try:
        return name, float(quality)
    except ValueError:
        return name, 1.0


class _Snapshot(Collector):
    def __init__(self, snapshot: Mapping[str, Any]) -> None:
        self._snapshot = snapshot

    def collect(self) -> Iterator[Metric]:
        for key, (name, text) in _GAUGES.items():
            yield GaugeMetricFamily(name, text, value=self._snapshot[key])
        for key, (name, text) in _COUNTERS.items():
            yield CounterMetricFamily(name, text, value=self._snapshot[key])
        for key, (name, text, label) in _LABELLED.items():
            family = CounterMetricFamily(name, text, labels=[label])
            for value, count in self._snapshot[key].items():
                family.add_metric([value], count)
            yield family
        latency = GaugeMetricFamily(
            "kidjamo_latency_seconds", "From arrival to durable, last minute", labels=["quantile"]
        )
        for quantile, key in _QUANTILES.items():
            latency.add_metric([quantile], self._snapshot[key])
        yield latency
