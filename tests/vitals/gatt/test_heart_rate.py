"""Heart Rate Measurement: golden bytes of the layout, and comparison with Bumble."""

from __future__ import annotations

import pytest
from bumble.profiles.heart_rate_service import HeartRateService
from hypothesis import given
from hypothesis import strategies as st

from vitals.errors import MalformedRecord
from vitals.gatt.heart_rate import HeartRate

GOLDEN = [
    ("00 48", HeartRate(72)),
    ("00 00", HeartRate(0)),
    ("01 2C 01", HeartRate(300)),
    ("04 48", HeartRate(72, contact=False)),
    ("06 48", HeartRate(72, contact=True)),
    ("08 48 10 27", HeartRate(72, energy_kj=10_000)),
    ("10 48 00 04", HeartRate(72, rr_1024=(1024,))),
    ("1F 2C 01 01 00 40 03 80 03", HeartRate(300, True, 1, (832, 896))),
]


@pytest.mark.parametrize(("raw", "value"), GOLDEN)
def test_golden(raw: str, value: HeartRate) -> None:
    # 02 without 04 has no meaning: the sensor does not support contact detection
    assert bytes(value) == bytes.fromhex(raw)
    assert HeartRate.from_bytes(bytes.fromhex(raw)) == value


def test_wide_rate_below_256_and_contact_without_support_are_read() -> None:
    assert HeartRate.from_bytes(bytes.fromhex("03 48 00")) == HeartRate(72)


def test_intervals_are_seconds() -> None:
    assert HeartRate(72, rr_1024=(1024, 512, 853)).rr_intervals_s == (1.0, 0.5, 853 / 1024)


@pytest.mark.parametrize("raw", [raw for raw, value in GOLDEN if not value.rr_1024])
def test_truncated_or_extended_is_refused_with_its_bytes(raw: str) -> None:
    whole = bytes.fromhex(raw)
    for data in (*(whole[:length] for length in range(len(whole))), whole + b"\x00", whole + b"\x00\x00"):
        with pytest.raises(MalformedRecord, match="heart rate") as refused:
            HeartRate.from_bytes(data)
        assert refused.value.data == data


@pytest.mark.parametrize("raw", ["10 48", "10 48 00", "10 48 00 04 00", "18 48 10 27", "18 48 10 27 01"])
def test_intervals_that_are_not_whole_are_refused(raw: str) -> None:
    with pytest.raises(MalformedRecord):
        HeartRate.from_bytes(bytes.fromhex(raw))


@pytest.mark.parametrize("value", [HeartRate(-1), HeartRate(65_536), HeartRate(72, energy_kj=65_536)])
def test_number_that_does_not_fit_is_refused(value: HeartRate) -> None:
    with pytest.raises(ValueError, match="heart rate"):
        bytes(value)


MEASUREMENTS = st.builds(
    HeartRate,
    st.integers(0, 0xFFFF),
    st.none() | st.booleans(),
    st.none() | st.integers(0, 0xFFFF),
    st.lists(st.integers(0, 0xFFFF), max_size=6).map(tuple),
)


@given(MEASUREMENTS)
def test_bumble_reads_what_we_write(ours: HeartRate) -> None:
    theirs = HeartRateService.HeartRateMeasurement.from_bytes(bytes(ours))
    assert theirs.heart_rate == ours.rate
    assert theirs.sensor_contact_detected == ours.contact
    assert theirs.energy_expended == ours.energy_kj
    assert tuple(theirs.rr_intervals or ()) == ours.rr_intervals_s


@given(MEASUREMENTS)
def test_we_read_what_bumble_writes(ours: HeartRate) -> None:
    theirs = HeartRateService.HeartRateMeasurement(
        ours.rate, ours.contact, ours.energy_kj, ours.rr_intervals_s or None
    )
    assert HeartRate.from_bytes(bytes(theirs)) == ours
