import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud_ingest.metrics.counters import Metrics, percentile
from cloud_ingest.metrics.prometheus import exposition, wants_prometheus

DELIVERY_METRICS = {
    "kafka_topics": {"kidjamo-iot-alerts": 3},
    "spooled_records": 0,
    "replayed_records": 0,
    "spool_pending": 0,
    "spool_bytes": 0,
    "spool_files_set_aside": 0,
    "reconciliation_difference": 0,
    "csv_rows_dropped": 0,
}


@given(st.lists(st.floats(0, 100), min_size=1), st.floats(0.01, 1))
def test_percentile_is_the_smallest_value_that_covers_its_share(values: list[float], share: float) -> None:
    result = percentile(sorted(values), share)
    assert result in values
    assert sum(value <= result for value in values) >= share * len(values) - 1e-9
    assert sum(value < result for value in values) < share * len(values) + 1e-9


@pytest.mark.parametrize(("share", "expected"), [(0.50, 50), (0.95, 95), (0.99, 99), (1.0, 100)])
def test_percentile_of_one_to_a_hundred(share: float, expected: float) -> None:
    assert percentile(range(1, 101), share) == expected


def test_percentile_of_nothing_is_zero() -> None:
    assert percentile([], 0.5) == 0


def test_snapshot_before_the_first_reading() -> None:
    assert Metrics(100.0).snapshot(100.0) == {
        "processed_messages": 0,
        "rejected_messages": 0,
        "api_uptime_s": 0.0,
        "latency_p50_s": 0.0,
        "latency_p95_s": 0.0,
        "latency_p99_s": 0.0,
        "throughput_eps": 0.0,
        "valid_pct": 100.0,
        "alerts_by_type": {},
    }


def test_snapshot_counts_readings_and_alerts() -> None:
    metrics = Metrics(0.0)
    for second in range(10):
        metrics.accept(second, 0.01 * (second + 1), 1, second != 3, ["CRITICAL_SPO2"] if second % 2 else [])
    metrics.reject(1, ["CLOCK_SKEW"])
    snapshot = metrics.snapshot(10.0)
    assert (snapshot["processed_messages"], snapshot["rejected_messages"], snapshot["valid_pct"]) == (
        10,
        1,
        90.0,
    )
    assert (snapshot["latency_p50_s"], snapshot["latency_p99_s"]) == (0.05, 0.1)
    assert snapshot["throughput_eps"] == 1.0
    assert snapshot["alerts_by_type"] == {"CLOCK_SKEW": 1, "CRITICAL_SPO2": 5}


def test_snapshot_covers_the_last_minute() -> None:
    metrics = Metrics(0.0)
    metrics.accept(1.0, 9.0, 1, 1, [])
    metrics.accept(100.0, 0.001, 1, 1, [])
    snapshot = metrics.snapshot(101.0)
    assert snapshot["latency_p99_s"] == 0.001
    assert snapshot["throughput_eps"] == round(1 / 60, 3)
    assert snapshot["processed_messages"] == 2


@pytest.mark.parametrize(
    ("accept", "text"),
    [
        (None, False),
        ("*/*", False),
        ("application/json", False),
        ("application/json, text/plain, */*", False),
        ("text/html,application/xhtml+xml,*/*;q=0.8", False),
        ("text/plain", True),
        ("text/plain;version=0.0.4;q=0.5,*/*;q=0.1", True),
        ("application/openmetrics-text;version=1.0.0;q=0.5,text/plain;q=0.3,*/*;q=0.2", True),
        ("text/plain;q=0.1, application/json", False),
        ("text/plain;q=zero", True),
        ("text/*;q=0.9, application/json;q=0.1", True),
        ("text/plain;q=0, */*", False),
        ("application/json;q=0, */*", True),
    ],
)
def test_wants_prometheus(accept: str | None, text: bool) -> None:
    assert wants_prometheus(accept) is text


def test_exposition_contains_the_values() -> None:
    metrics = Metrics(0.0)
    metrics.accept(1.0, 0.25, 1, 1, ["CRITICAL_SPO2"])
    lines = exposition(metrics.snapshot(2.0) | DELIVERY_METRICS).decode().splitlines()
    assert "kidjamo_readings_accepted_total 1.0" in lines
    assert 'kidjamo_alerts_total{type="CRITICAL_SPO2"} 1.0' in lines
    assert 'kidjamo_latency_seconds{quantile="0.99"} 0.25' in lines
    assert 'kidjamo_kafka_acknowledged_total{topic="kidjamo-iot-alerts"} 3.0' in lines


def test_snapshot_is_json() -> None:
    assert json.loads(json.dumps(Metrics(0.0).snapshot(1.0)))["api_uptime_s"] == 1.0
