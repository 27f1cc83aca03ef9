"""Batches with a reading that is not JSON."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud_ingest.ingest.partial_batch import Unreadable, readings_of
from vitals.reading import parse_json

GOOD = b'{"a": ["]", "\\"}", {}]}'


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (b'{"spo2_pct": NaN}', "no NaN"),
        (b'{"x": "\\ud800"}', "not JSON"),
        (b'{"seq": 1' + b"0" * 5000 + b"}", "not JSON"),
        (b'{"x": ' + b"[" * 300 + b"]" * 300 + b"}", "nested too deeply"),
        (b'{"x": "\xff"}', "not JSON"),
        (b"{nope}", "not JSON"),
        (b"", "not JSON"),
    ],
    ids=["NaN", "surrogate", "long number", "deep", "not UTF-8", "no key", "nothing"],
)
def test_readings_beside_one_that_is_not_json_are_decoded(bad: bytes, reason: str) -> None:
    readings = readings_of(b' {"readings": [' + GOOD + b", " + bad + b", " + GOOD + b'], "more": 1}')
    assert readings is not None
    first, second, third = readings
    assert first == third == json.loads(GOOD)
    assert isinstance(second, Unreadable)
    assert second.original.strip() == bad
    assert reason in second.error.reason


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[" + GOOD + b"]",
        b'{"readings": [' + GOOD,
        b'{"readings": [' + GOOD + b"}",
        b'{"readings": 5}',
        b'{"readings": ["',
    ],
    ids=repr,
)
def test_body_that_is_not_a_batch_returns_none(body: bytes) -> None:
    assert readings_of(body) is None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.text('a[]{},:"\\ \n'),
    lambda inner: st.lists(inner) | st.dictionaries(st.text('k"\\'), inner),
)


@given(st.lists(JSON, min_size=1))
def test_batch_that_is_json_is_decoded_as_json(readings: list[object]) -> None:
    body = json.dumps({"readings": readings}).encode()
    assert readings_of(body) == parse_json(body)["readings"]


@given(st.binary())
def test_readings_of_never_raises(data: bytes) -> None:
    readings_of(b'{"readings": [' + data)
