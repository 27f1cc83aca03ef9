"""Counters of the API: totals since the start, latencies and throughput over the last minute."""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Sequence
from typing import Any

WINDOW_S = 60.0
MAX_LATENCIES = 10_000


def percentile(ordered: Sequence[float], share: float) -> float:
    """Return the nearest-rank percentile: the smallest value that a share of all values does not exceed.

    Args:
        ordered: values, smallest first.
        share: above 0, up to 1.
    """
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else 0.0


class Metrics:
    """Counters of one API process; times are monotonic seconds and passed in.

    Attributes:
        accepted, rejected: readings since the start.
        valid: accepted readings without an invalid value.
        alerts: alerts since the start, by type.
    """

    def __init__(self, started: float) -> None:
        self._started = started
        self.accepted = self.rejected = self.valid = 0
        self.alerts: Counter[str] = Counter()
        self._latencies: deque[tuple[float, float]] = deque(maxlen=MAX_LATENCIES)
        self._per_second: deque[list[float]] = deque()

    def accept(self, now: float, latency_s: float, readings: int, valid: int, alerts: Sequence[str]) -> None:
        """Count readings accepted together, `valid` of them without an invalid value."""
        self.accepted += readings
        self.valid += valid
        self.alerts.update(alerts)
        self._latencies.extend([(now, latency_s)] * readings)
        if self._per_second and self._per_second[-1][0] == int(now):
            self._per_second[-1][1] += readings
        else:
            self._per_second.append([int(now), readings])
            self._drop_old(now)

    def reject(self, readings: int, alerts: Sequence[str] = ()) -> None:
        """Count refused readings, and the alerts of quarantined ones."""
        self.rejected += readings
        self.alerts.update(alerts)

    def snapshot(self, now: float) -> dict[str, Any]:
        """Return the metrics; latencies and throughput are over the last minute, 0 without readings."""
        self._drop_old(now)
        latencies = sorted(latency for at, latency in self._latencies if now - at <= WINDOW_S)
        uptime = now - self._started
        recent = sum(count for _, count in self._per_second)
        return {
            "processed_messages": self.accepted,
            "rejected_messages": self.rejected,
            "api_uptime_s": round(uptime, 3),
            "latency_p50_s": round(percentile(latencies, 0.50), 6),
            "latency_p95_s": round(percentile(latencies, 0.95), 6),
            "latency_p99_s": round(percentile(latencies, 0.99), 6),
            "throughput_eps": round(recent / min(max(uptime, 1.0), WINDOW_S), 3),
            "valid_pct": round(100 * self.valid / self.accepted, 2) if self.accepted else 100.0,
            "alerts_by_type": dict(sorted(self.alerts.items())),
        }

    def _drop_old(self, now: float) -> None:
        while self._per_second and now - self._per_second[0][0] > WINDOW_S:
            self._per_second.popleft()
