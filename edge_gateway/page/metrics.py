"""Prometheus metrics of the gateway. No label or value identifies a child or a bracelet."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from edge_gateway.alarms.monitor import AlarmMonitor
from edge_gateway.outbox.reading_queries import OutboxCounts
from edge_gateway.state import GatewayState

CONTENT_TYPE = CONTENT_TYPE_LATEST
_BY_LABEL = {"received": "source", "no_value": "reason", "refused": "reason", "alerts": "type"}
_PLAIN = ("duplicates", "records_missing", "notified", "notifier_failures", "alerts_not_notified")


def exposition(state: GatewayState, monitor: AlarmMonitor, counts: OutboxCounts) -> bytes:
    """Return the metrics in Prometheus's text format."""
    registry = CollectorRegistry()
    registry.register(_GatewayCollector(state, monitor, counts))
    return generate_latest(registry)


class _GatewayCollector(Collector):
    def __init__(self, state: GatewayState, monitor: AlarmMonitor, counts: OutboxCounts) -> None:
        self._state, self._monitor, self._counts = state, monitor, counts

    def collect(self) -> Iterator[Metric]:
        yield from self._events()
        yield from self._outbox()
        yield from self._alarms()

    def _events(self) -> Iterator[Metric]:
        counters = self._state.counters
        for name, label in _BY_LABEL.items():
            family = CounterMetricFamily(f"kidjamo_gateway_{name}", f"{name} since the start", labels=[label])
            for value, count in getattr(counters, name).items():
                family.add_metric([value], count)
            yield family
        for name in (*_PLAIN, "delivery_failures"):
            text = f"{name.replace('_', ' ')} since the start"
            yield CounterMetricFamily(f"kidjamo_gateway_{name}", text, value=getattr(counters, name))

    def _outbox(self) -> Iterator[Metric]:
        readings = GaugeMetricFamily(
            "kidjamo_gateway_outbox_readings", "readings since the outbox was created", labels=["state"]
        )
        for name, count in self._counts.to_json().items():
            readings.add_metric([name], count)
        yield readings
        filled = self._state.outbox_filled
        yield GaugeMetricFamily(
            "kidjamo_gateway_outbox_filled_ratio", "used share of the size limit", value=filled
        )
        since = self._state.undelivered_since
        waiting = (datetime.now(UTC) - since).total_seconds() if since else 0.0
        yield GaugeMetricFamily(
            "kidjamo_gateway_undelivered_seconds", "how long deliveries have been failing", value=waiting
        )

    def _alarms(self) -> Iterator[Metric]:
        links = GaugeMetricFamily("kidjamo_gateway_links", "bracelets by link state", labels=["state"])
        for state, count in Counter(link.state for link in self._state.links.values()).items():
            links.add_metric([state], count)
        yield links
        alarms = GaugeMetricFamily("kidjamo_gateway_open_alarms", "open alarm episodes", labels=["phase"])
        phases = Counter(
            episode.phase.value
            for child in self._monitor.children.values()
            for episode in child.episodes.open
        )
        for phase, count in phases.items():
            alarms.add_metric([phase], count)
        yield alarms
        conditions = GaugeMetricFamily(
            "kidjamo_gateway_conditions", "active technical conditions", labels=["kind", "priority"]
        )
        for (kind, priority), count in Counter(
            (each.kind.value, each.priority.name) for each in self._monitor.active_conditions
        ).items():
            conditions.add_metric([kind, priority], count)
        yield conditions
