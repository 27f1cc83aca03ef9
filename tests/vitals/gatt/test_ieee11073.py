"""Golden bytes from the standards, and comparison with exact fractions."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vitals.errors import MalformedRecord
from vitals.gatt.ieee11073 import decode_float, decode_sfloat, encode_float, encode_sfloat

SFLOATS = [
    ("62 00", 98.0),
    ("61 00", 97.0),
    ("64 00", 100.0),
    ("CF F3", 97.5),
    ("6C F3", 87.6),
    ("6F F3", 87.9),
    ("7C F1", 38.0),
    ("00 00", 0.0),
    ("FF 0F", -1.0),
    ("F6 FF", -1.0),
    ("FD 07", 2045.0),
    ("03 08", -2045.0),
    ("01 80", 1e-8),
    ("01 70", 1e7),
]
FLOATS = [
    ("7C 01 00 FF", 38.0),
    ("6E 01 00 FF", 36.6),
    ("6C 03 00 FF", 87.6),
    ("D4 0E 00 FE", 37.96),
    ("26 00 00 00", 38.0),
    ("00 00 00 00", 0.0),
    ("FF FF FF FF", -0.1),
    ("FD FF 7F 00", 8388605.0),
    ("03 00 80 00", -8388605.0),
    ("01 00 00 80", 1e-128),
    ("01 00 00 7F", 1e127),
]


@pytest.mark.parametrize(("raw", "value"), SFLOATS)
def test_decode_sfloat(raw: str, value: float) -> None:
    assert decode_sfloat(bytes.fromhex(raw)) == value


@pytest.mark.parametrize(("raw", "value"), FLOATS)
def test_decode_float(raw: str, value: float) -> None:
    assert decode_float(bytes.fromhex(raw)) == value


@pytest.mark.parametrize(
    ("raw", "value"),
    [("62 00", 98), ("CF F3", 97.5), ("6C F3", 87.6), ("64 00", 100), ("78 00", 120), ("FD 17", 20450)],
)
def test_encode_sfloat_as_devices_do(raw: str, value: float) -> None:
    assert encode_sfloat(value) == bytes.fromhex(raw)


@pytest.mark.parametrize(
    ("raw", "value"), [("6E 01 00 FF", 36.6), ("D4 0E 00 FE", 37.96), ("26 00 00 00", 38)]
)
def test_encode_float(raw: str, value: float) -> None:
    assert encode_float(value) == bytes.fromhex(raw)


@pytest.mark.parametrize(
    ("raw", "infinity"),
    [("FE 07", math.inf), ("02 08", -math.inf)],
)
def test_sfloat_infinities(raw: str, infinity: float) -> None:
    assert decode_sfloat(bytes.fromhex(raw)) == infinity
    assert encode_sfloat(infinity) == bytes.fromhex(raw)


@pytest.mark.parametrize(
    ("raw", "infinity"),
    [("FE FF 7F 00", math.inf), ("02 00 80 00", -math.inf)],
)
def test_float_infinities(raw: str, infinity: float) -> None:
    assert decode_float(bytes.fromhex(raw)) == infinity
    assert encode_float(infinity) == bytes.fromhex(raw)


@pytest.mark.parametrize(
    "raw", ["FF 07", "00 08", "01 08"], ids=["NaN", "not at this resolution", "reserved"]
)
def test_decode_sfloat_special_values(raw: str) -> None:
    assert math.isnan(decode_sfloat(bytes.fromhex(raw)))


@pytest.mark.parametrize(
    "raw", ["FF FF 7F 00", "00 00 80 00", "01 00 80 00"], ids=["NaN", "not at this resolution", "reserved"]
)
def test_decode_float_special_values(raw: str) -> None:
    assert math.isnan(decode_float(bytes.fromhex(raw)))


def test_encode_nan() -> None:
    assert encode_sfloat(math.nan) == bytes.fromhex("FF 07")
    assert encode_float(math.nan) == bytes.fromhex("FF FF 7F 00")


def exactly(mantissa: int, exponent: int) -> float:
    """The nearest float, by exact arithmetic."""
    return float(mantissa * Fraction(10) ** exponent)


def test_decode_every_sfloat_there_is() -> None:
    for raw in range(1 << 16):
        mantissa = ((raw & 0x0FFF) ^ 0x0800) - 0x0800
        exponent = ((raw >> 12) ^ 8) - 8
        decoded = decode_sfloat(bytes((raw & 0xFF, raw >> 8)))
        if not 0x07FE <= raw <= 0x0802:
            assert decoded == exactly(mantissa, exponent), f"{raw:04x}"


@given(st.integers(-(1 << 23), (1 << 23) - 1), st.integers(-128, 127))
def test_decode_float_agrees_with_exact_fractions(mantissa: int, exponent: int) -> None:
    data = mantissa.to_bytes(3, "little", signed=True) + exponent.to_bytes(1, "little", signed=True)
    decoded = decode_float(data)
    if exponent == 0 and abs(mantissa) >= (1 << 23) - 2:
        assert not math.isfinite(decoded)
    else:
        assert decoded == exactly(mantissa, exponent)


@given(st.binary(min_size=2, max_size=2), st.binary(min_size=4, max_size=4))
def test_decode_of_the_right_length_never_raises(two: bytes, four: bytes) -> None:
    assert isinstance(decode_sfloat(two), float)
    assert isinstance(decode_float(four), float)


@pytest.mark.parametrize(("decode", "size"), [(decode_sfloat, 2), (decode_float, 4)])
def test_decode_of_another_length_is_refused_with_its_bytes(
    decode: Callable[[bytes], float], size: int
) -> None:
    for length in {*range(9)} - {size}:
        with pytest.raises(MalformedRecord, match=f"{size} bytes expected, {length} found") as refused:
            decode(b"\x62" * length)
        assert refused.value.data == b"\x62" * length


@given(st.integers(-2045, 2045), st.integers(-8, 7))
def test_sfloat_round_trip(mantissa: int, exponent: int) -> None:
    value = exactly(mantissa, exponent)
    assert decode_sfloat(encode_sfloat(value)) == value


@given(st.integers(-8388605, 8388605), st.integers(-128, 127))
def test_float_round_trip(mantissa: int, exponent: int) -> None:
    value = exactly(mantissa, exponent)
    assert decode_float(encode_float(value)) == value


@given(st.floats())
def test_encode_any_float_keeps_it_or_refuses(value: float) -> None:
    for encode, decode in ((encode_sfloat, decode_sfloat), (encode_float, decode_float)):
        try:
            data = encode(value)
        except ValueError:
            continue
        assert decode(data) == value or math.isnan(value)


@pytest.mark.parametrize("value", [37.96, 2046, 2047, -2046, 97.53, 1e-9, 1e12])
def test_encode_sfloat_never_rounds(value: float) -> None:
    with pytest.raises(ValueError, match="does not fit SFLOAT without rounding"):
        encode_sfloat(value)


@pytest.mark.parametrize("value", [36.6000001, 8388606, 1 / 3, 1e-129, 1e135])
def test_encode_float_never_rounds(value: float) -> None:
    with pytest.raises(ValueError, match="does not fit FLOAT without rounding"):
        encode_float(value)
