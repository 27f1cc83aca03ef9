"""Windows, compared with values computed by hand."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from pyspark.sql import SparkSession

from lakehouse import bronze, raw
from tests.lakehouse.conftest import ParseMessages, utc
from tests.lakehouse.samples import MORNING, message_id, reading
from vitals import topics
from vitals.reading import parse_reading
from vitals.rules import AlertType, evaluate


def test_windows_have_the_values_computed_by_hand(parse_messages: ParseMessages) -> None:
    sent = [
        reading(0, MORNING, measurements={"spo2_pct": 97.0, "freq_card": 90.0}),
        reading(1, MORNING + timedelta(seconds=60), measurements={"spo2_pct": 87.9, "freq_card": 100.0}),
        reading(1, MORNING + timedelta(seconds=60), measurements={"spo2_pct": 87.9, "freq_card": 100.0}),
        reading(3, MORNING + timedelta(seconds=180), measurements={"spo2_pct": 0.0, "temp_corp": 38.0}),
        reading(5, MORNING + timedelta(seconds=300), measurements={"temp_corp": None}),
    ]
    rows = (
        bronze.windows(raw.measurements(parse_messages(topics.MEASUREMENTS, *sent)))
        .orderBy("window_start")
        .collect()
    )
    first, second = rows
    assert utc(first, "window_start") == datetime(2025, 8, 24, 10, 30, tzinfo=UTC)
    assert utc(first, "window_end") == datetime(2025, 8, 24, 10, 35, tzinfo=UTC)
    # 0, 1 and 3 of one reading a minute: five to a window, three distinct ones here.
    assert (first["count"], first["received"], first["expected"], first["coverage_pct"]) == (3, 3, 5, 60.0)
    assert (first["spo2_pct_min"], first["spo2_pct_max"]) == (87.9, 97.0)
    assert first["spo2_pct_mean"] == pytest.approx(92.45)
    assert (first["freq_card_min"], first["freq_card_mean"], first["freq_card_max"]) == (90.0, 94.0, 100.0)
    assert (first["has_invalid_values"], first["has_critical_spo2"], first["has_critical_heart_rate"]) == (
        True,
        True,
        False,
    )
    # The implausible 0 raises neither the SpO2 alert nor the combined one.
    assert (first["critical_spo2_alerts"], first["critical_temperature_alerts"], first["alerts"]) == (1, 1, 2)
    assert first["critical_fever_spo2_alerts"] == 0
    minutes = ("minutes_with_data", "minutes_spo2_below_threshold", "minutes_with_fever")
    assert [first[name] for name in minutes] == [3, 1, 1]
    # One reading gives no rate, and a window without temperatures has null.
    assert (second["count"], second["expected"], second["coverage_pct"]) == (1, 1, 100.0)
    assert (second["temp_corp_min"], second["temp_corp_mean"], second["temp_corp_max"]) == (None, None, None)


def test_windows_of_two_children_and_a_rebooted_bracelet(parse_messages: ParseMessages) -> None:
    sent = [
        *(reading(n, MORNING + timedelta(seconds=10 * n)) for n in range(10)),
        *(reading(100 + n, MORNING + timedelta(seconds=200 + 10 * n), boot=2, seq=n) for n in range(5)),
        reading(200, MORNING, patient_id="p1_2", seq=None, boot=None),
        reading(201, MORNING + timedelta(seconds=100), patient_id="p1_2", seq=None, boot=None),
    ]
    rows = (
        bronze.windows(raw.measurements(parse_messages(topics.MEASUREMENTS, *sent)))
        .orderBy("count")
        .collect()
    )
    assert [(row["count"], row["expected"], row["coverage_pct"]) for row in rows] == [
        (2, 3, 66.7),
        (15, 30, 50.0),
    ]


BOUNDARIES = [
    *({"spo2_pct": value} for value in (0.0, 87.6, 87.9, 88.0, 92.0, 100.0, 100.1)),
    *({"temp_corp": value} for value in (24.9, 25.0, 37.96, 38.0, 45.0, 45.1)),
    *({"freq_card": value} for value in (0.0, 39.9, 40.0, 180.0, 180.1, 300.0, 301.0)),
    *({"spo2_pct": spo2, "temp_corp": 38.0} for spo2 in (0.0, 87.0, 92.0, 92.1)),
    {"spo2_pct": 92.0, "temp_corp": 37.99},
    {"freq_resp": 18.0},
]


def test_rule_agrees_with_the_shared_rules_at_every_boundary(parse_messages: ParseMessages) -> None:
    sent = [reading(n) | {"measurements": measured} for n, measured in enumerate(BOUNDARIES)]
    rows = raw.measurements(parse_messages(topics.MEASUREMENTS, *sent))
    kinds = [kind for kind in AlertType if kind.value.startswith("CRITICAL_")]
    found = rows.select("message_id", *(bronze.rule(kind).alias(kind.value) for kind in kinds)).collect()
    met = {row["message_id"]: {kind for kind in kinds if row[kind.value]} for row in found}
    assert met == {
        message_id(n): {alert.type for alert in evaluate(parse_reading(document))} & set(kinds)
        for n, document in enumerate(sent)
    }


def test_touched_does_not_trust_a_fast_clock(spark: SparkSession, parse_messages: ParseMessages) -> None:
    far = datetime(2031, 1, 1, tzinfo=UTC)
    fast = reading(1, far, ingestion_timestamp="2025-08-24T10:31:00Z")
    faster = reading(2, far, ingestion_timestamp=None, patient_id="p1_2")
    rows = bronze.touched(raw.measurements(parse_messages(topics.MEASUREMENTS, fast, faster))).collect()
    seen = {row["patient_id"]: datetime.fromtimestamp(row["seen"] / 1e6, UTC) for row in rows}
    assert min(seen.values()) == datetime(2025, 8, 24, 10, 31, tzinfo=UTC)
    assert abs(seen["p1_2"] - datetime.now(UTC)) < timedelta(minutes=1)
