"""Temperature Measurement: golden bytes of the SIG's layout."""

from __future__ import annotations

import pytest

from vitals.errors import MalformedRecord
from vitals.gatt.current_time import DateTime
from vitals.gatt.thermometer import Site, Temperature

# FLOAT FF00017C is 380 tenths, FF00016E 366 tenths, FF0003EC 1004 tenths, 007FFFFF NaN
GOLDEN = [
    ("00 7C 01 00 FF", Temperature(38.0)),
    ("00 6E 01 00 FF", Temperature(36.6)),
    ("00 FF FF 7F 00", Temperature(None)),
    ("01 EC 03 00 FF", Temperature(100.4, fahrenheit=True)),
    ("04 7C 01 00 FF 06", Temperature(38.0, site=Site.MOUTH)),
    (
        "06 D4 0E 00 FE E9 07 08 18 0A 1E 05 09",
        Temperature(37.96, time=DateTime(2025, 8, 24, 10, 30, 5), site=Site.TYMPANUM),
    ),
]


@pytest.mark.parametrize(("raw", "value"), GOLDEN)
def test_golden(raw: str, value: Temperature) -> None:
    decoded = Temperature.from_bytes(bytes.fromhex(raw))
    assert decoded == value
    if value != Temperature(38.0) and value != Temperature(38.0, site=Site.MOUTH):
        assert bytes(value) == bytes.fromhex(raw)
    assert Temperature.from_bytes(bytes(value)) == value  # 38.0 may be sent as 38 or as 380 tenths


@pytest.mark.parametrize("raw", [raw for raw, _ in GOLDEN])
def test_truncated_or_extended_is_refused_with_its_bytes(raw: str) -> None:
    whole = bytes.fromhex(raw)
    for data in (*(whole[:length] for length in range(len(whole))), whole + b"\x00"):
        with pytest.raises(MalformedRecord, match="thermometer") as refused:
            Temperature.from_bytes(data)
        assert refused.value.data == data


def test_unknown_type_or_impossible_time_keeps_the_temperature() -> None:
    assert Temperature.from_bytes(bytes.fromhex("04 7C 01 00 FF 0A")) == Temperature(38.0)
    month_13 = bytes.fromhex("02 7C 01 00 FF E9 07 0D 18 0A 1E 05")
    assert Temperature.from_bytes(month_13) == Temperature(38.0)


@pytest.mark.parametrize(
    ("fahrenheit", "celsius"), [(100.4, 38.0), (100.3, 37.94444444444444), (98.6, 37.0), (104, 40.0)]
)
def test_fahrenheit_is_exact_in_decimals(fahrenheit: float, celsius: float) -> None:
    assert Temperature(fahrenheit, fahrenheit=True).celsius == celsius


def test_celsius_is_not_converted() -> None:
    assert Temperature(37.96).celsius == 37.96
    assert Temperature(None, fahrenheit=True).celsius is None
