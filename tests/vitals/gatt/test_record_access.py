"""Golden bytes of the control point, with the Bluetooth SIG's op codes and operators."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vitals.errors import MalformedRecord
from vitals.gatt.record_access import Count, OpCode, Request, Response, ResponseCode, parse_indication

REQUESTS = [
    ("01 03 01 2A 00 00 00", Request.report_from(42)),
    ("04 03 01 00 00 00 00", Request.count_from(0)),
    ("02 02 01 FF FF FF FF", Request.release_up_to(4294967295)),
    ("03 00", Request.abort()),
]
ANSWERS = [
    ("05 00 05 01 00 00", Count(261)),
    ("06 00 01 01", Response(OpCode.REPORT, ResponseCode.SUCCESS)),
    ("06 00 01 06", Response(OpCode.REPORT, ResponseCode.NO_RECORDS)),
    ("06 00 02 01", Response(OpCode.DELETE, ResponseCode.SUCCESS)),
    ("06 00 03 08", Response(OpCode.ABORT, ResponseCode.NOT_COMPLETED)),
    ("06 00 04 02", Response(OpCode.REPORT_COUNT, ResponseCode.NOT_SUPPORTED)),
]


@pytest.mark.parametrize(("raw", "request_"), REQUESTS)
def test_request(raw: str, request_: Request) -> None:
    assert Request.from_bytes(bytes.fromhex(raw)) == request_
    assert bytes(request_) == bytes.fromhex(raw)


@pytest.mark.parametrize(("raw", "answer"), ANSWERS)
def test_indication(raw: str, answer: Count | Response) -> None:
    assert parse_indication(bytes.fromhex(raw)) == answer
    assert bytes(answer) == bytes.fromhex(raw)


@pytest.mark.parametrize("raw", [raw for raw, _ in REQUESTS])
def test_request_truncated_or_extended_is_refused_with_its_bytes(raw: str) -> None:
    whole = bytes.fromhex(raw)
    for data in (*(whole[:length] for length in range(len(whole))), whole + b"\x00", whole * 2):
        with pytest.raises(MalformedRecord) as refused:
            Request.from_bytes(data)
        assert refused.value.data == data


@pytest.mark.parametrize("raw", [raw for raw, _ in ANSWERS])
def test_indication_truncated_or_extended_is_refused_with_its_bytes(raw: str) -> None:
    whole = bytes.fromhex(raw)
    for data in (*(whole[:length] for length in range(len(whole))), whole + b"\x00", whole * 2):
        with pytest.raises(MalformedRecord) as refused:
            parse_indication(data)
        assert refused.value.data == data


@pytest.mark.parametrize(
    "raw",
    [
        "00 00",
        "07 00",
        "03 01",
        "01 01",
        "01 02 01 00 00 00 00",
        "02 03 01 00 00 00 00",
        "02 01",
        "01 03 02 00 00 00 00",
        "05 00 01 00 00 00",
    ],
)
def test_unknown_request_is_refused(raw: str) -> None:
    with pytest.raises(MalformedRecord, match="unknown request"):
        Request.from_bytes(bytes.fromhex(raw))


@pytest.mark.parametrize(
    "raw", ["06 00 01 00", "06 00 01 63", "06 00 63 01", "06 01 01 01", "05 01 01 00 00 00", "01 03"]
)
def test_unknown_indication_is_refused(raw: str) -> None:
    with pytest.raises(MalformedRecord) as refused:
        parse_indication(bytes.fromhex(raw))
    assert refused.value.data == bytes.fromhex(raw)


@given(st.binary(max_size=9))
def test_any_bytes_are_an_exact_message_or_malformed(data: bytes) -> None:
    for decode in (Request.from_bytes, parse_indication):
        try:
            message = decode(data)
        except MalformedRecord as refused:
            assert refused.data == data  # noqa: PT017 - either outcome is right
        else:
            assert bytes(message) == data


@given(st.integers(0, 2**32 - 1))
def test_round_trip_of_every_number(number: int) -> None:
    for request in (Request.report_from(number), Request.count_from(number), Request.release_up_to(number)):
        assert Request.from_bytes(bytes(request)) == request
    assert parse_indication(bytes(Count(number))) == Count(number)


@pytest.mark.parametrize("number", [-1, 2**32])
def test_number_that_does_not_fit_is_refused(number: int) -> None:
    for message in (Request.report_from(number), Request.release_up_to(number), Count(number)):
        with pytest.raises(ValueError, match="record access"):
            bytes(message)
