"""Pulse oximeter measurements: golden bytes of the SIG's layout."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vitals.errors import MalformedRecord
from vitals.gatt.current_time import DateTime
from vitals.gatt.pulse_oximeter import (
    ContinuousMeasurement,
    MeasurementCondition,
    MeasurementStatus,
    Oximetry,
    SensorStatus,
    SpotCheckMeasurement,
)

# 0062 is 98, F3CF is 97.5, 0048 is 72, F36C is 87.6, F370 is 88.0 with a decimal, 07FF is NaN
CONTINUOUS = [
    ("00 62 00 48 00", ContinuousMeasurement(Oximetry(98, 72))),
    ("00 CF F3 48 00", ContinuousMeasurement(Oximetry(97.5, 72))),
    ("00 6C F3 48 00", ContinuousMeasurement(Oximetry(87.6, 72))),
    ("00 FF 07 FF 07", ContinuousMeasurement(Oximetry(None, None))),
    (
        "03 62 00 48 00 61 00 49 00 60 00 4A 00",
        ContinuousMeasurement(Oximetry(98, 72), Oximetry(97, 73), Oximetry(96, 74)),
    ),
    (
        "0C 62 00 48 00 00 80 20 88 00",
        ContinuousMeasurement(
            Oximetry(98, 72),
            condition=MeasurementCondition(
                MeasurementStatus.INVALID,
                SensorStatus.LOW_PERFUSION | SensorStatus.NOT_ON_USER | SensorStatus.DISCONNECTED,
            ),
        ),
    ),
    (
        "1E 62 00 48 00 61 00 49 00 20 40 00 00 00 0F F0",
        ContinuousMeasurement(
            Oximetry(98, 72),
            slow=Oximetry(97, 73),
            condition=MeasurementCondition(
                MeasurementStatus.ONGOING | MeasurementStatus.QUESTIONABLE, SensorStatus(0), 1.5
            ),
        ),
    ),
]
SPOT = [
    ("00 61 00 48 00", SpotCheckMeasurement(Oximetry(97, 72))),
    (
        "01 61 00 48 00 E9 07 08 18 0A 1E 05",
        SpotCheckMeasurement(Oximetry(97, 72), DateTime(2025, 8, 24, 10, 30, 5)),
    ),
    (
        "1F 61 00 48 00 E9 07 08 18 0A 1E 05 00 02 20 00 00 0F F0",
        SpotCheckMeasurement(
            Oximetry(97, 72),
            DateTime(2025, 8, 24, 10, 30, 5),
            MeasurementCondition(MeasurementStatus.FROM_STORAGE, SensorStatus.LOW_PERFUSION, 1.5),
            clock_not_set=True,
        ),
    ),
]


@pytest.mark.parametrize(("raw", "value"), CONTINUOUS)
def test_continuous_golden(raw: str, value: ContinuousMeasurement) -> None:
    assert ContinuousMeasurement.from_bytes(bytes.fromhex(raw)) == value
    assert bytes(value) == bytes.fromhex(raw)


@pytest.mark.parametrize(("raw", "value"), SPOT)
def test_spot_check_golden(raw: str, value: SpotCheckMeasurement) -> None:
    assert SpotCheckMeasurement.from_bytes(bytes.fromhex(raw)) == value
    assert bytes(value) == bytes.fromhex(raw)


def test_number_with_trailing_decimals_is_the_same_number() -> None:
    # F370 is 880 tenths: 88.0, which is no alarm
    assert ContinuousMeasurement.from_bytes(bytes.fromhex("00 70 F3 48 00")).normal.spo2 == 88.0


@pytest.mark.parametrize("special", ["FE 07", "FF 07", "00 08", "01 08", "02 08"])
def test_special_value_is_decoded_as_none(special: str) -> None:
    data = bytes.fromhex(f"00 {special} 48 00")
    assert ContinuousMeasurement.from_bytes(data).normal == Oximetry(None, 72)


@pytest.mark.parametrize("raw", [raw for raw, _ in CONTINUOUS])
def test_continuous_truncated_or_extended_is_refused_with_its_bytes(raw: str) -> None:
    whole = bytes.fromhex(raw)
    for data in (*(whole[:length] for length in range(len(whole))), whole + b"\x00"):
        with pytest.raises(MalformedRecord, match="continuous oximetry") as refused:
            ContinuousMeasurement.from_bytes(data)
        assert refused.value.data == data


@pytest.mark.parametrize("raw", [raw for raw, _ in SPOT])
def test_spot_check_truncated_or_extended_is_refused_with_its_bytes(raw: str) -> None:
    whole = bytes.fromhex(raw)
    for data in (*(whole[:length] for length in range(len(whole))), whole + b"\x00"):
        with pytest.raises(MalformedRecord, match="spot-check oximetry") as refused:
            SpotCheckMeasurement.from_bytes(data)
        assert refused.value.data == data


TENTHS = st.none() | st.integers(0, 2045).map(lambda tenths: tenths / 10)
PAIRS = st.builds(Oximetry, TENTHS, TENTHS)
CONDITIONS = st.builds(
    MeasurementCondition,
    st.none() | st.integers(0, 0xFFFF).map(MeasurementStatus),
    st.none() | st.integers(0, 0xFFFFFF).map(SensorStatus),
    st.none() | st.integers(0, 2000).map(lambda tenths: tenths / 10),
)


@given(st.builds(ContinuousMeasurement, PAIRS, st.none() | PAIRS, st.none() | PAIRS, CONDITIONS))
def test_continuous_round_trip(value: ContinuousMeasurement) -> None:
    assert ContinuousMeasurement.from_bytes(bytes(value)) == value


@given(
    st.builds(
        SpotCheckMeasurement,
        PAIRS,
        st.none()
        | st.datetimes().filter(lambda at: at.year >= 1582).map(lambda at: at.astimezone()).map(DateTime.of),
        CONDITIONS,
        st.booleans(),
    )
)
def test_spot_check_round_trip(value: SpotCheckMeasurement) -> None:
    assert SpotCheckMeasurement.from_bytes(bytes(value)) == value
