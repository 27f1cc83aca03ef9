"""The schema of a reading: accepted and refused documents, and no other exception for any input."""

from __future__ import annotations

import json
import traceback
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from tests.vitals.samples import ANY_JSON, ANY_TEXT, PLAUSIBLE, any_vitals, document, measured
from vitals.errors import InvalidReading
from vitals.quality import quality_score
from vitals.reading import (
    Measurements,
    Reading,
    derived_message_id,
    parse_json,
    parse_reading,
)
from vitals.rules import records

FIELDS = (
    *("patient_id", "device_id", "timestamp", "measurements", "message_id", "seq"),
    *("boot", "device_time", "gateway_id", "source", "late", "signal"),
)
MESSAGE_ID = UUID("8f14e45f-ceea-467f-a9b8-2d1c3b4a5e6f")


def refusal(document: object) -> InvalidReading:
    with pytest.raises(InvalidReading) as refused:
        parse_reading(document)
    return refused.value


def test_parse_reading_with_every_field() -> None:
    whole = document(
        message_id="8f14e45f-ceea-467f-a9b8-2d1c3b4a5e6f",
        seq=42,
        boot=3,
        device_time="2025-08-24T10:29:59Z",
        gateway_id="gw-1",
        source="ble",
        late=True,
        signal={"contact": True, "motion": False, "low_perfusion": False, "battery_pct": 80, "site": "wrist"},
    )
    assert parse_reading(whole).to_wire() == whole


def test_whole_numbers_may_be_written_with_a_fraction_of_zero() -> None:
    parsed = parse_reading(document(seq=42.0, boot=3.0, signal={"battery_pct": 80.0}))
    assert (parsed.seq, parsed.boot, parsed.signal and parsed.signal.battery_pct) == (42, 3, 80)
    assert '"seq":42,' in parsed.model_dump_json()


def test_parse_reading_ignores_unknown_fields() -> None:
    more = document(colour="blue")
    more["measurements"]["glucose"] = 5.1
    assert parse_reading(more) == parse_reading(document())


@pytest.mark.parametrize("absent", list(PLAUSIBLE))
def test_parse_reading_with_an_absent_vital(absent: str) -> None:
    null, missing = document(), document()
    null["measurements"][absent] = None
    del missing["measurements"][absent]
    assert parse_reading(null) == parse_reading(missing)
    assert absent not in parse_reading(null).measurements.present()


@pytest.mark.parametrize("measurements", [{}, {"spo2_pct": None}, {"glucose": 5.1}])
def test_parse_reading_without_any_vital_is_refused(measurements: dict[str, Any]) -> None:
    error = refusal(document(measurements=measurements))
    assert error.field == "measurements"
    assert error.reason == "at least one of spo2_pct, freq_card, freq_resp, temp_corp is needed"


@pytest.mark.parametrize("field", list(PLAUSIBLE))
@pytest.mark.parametrize(
    "value", [float("nan"), float("inf"), float("-inf"), True, False, "97", [97], {}, 10**400]
)
def test_parse_reading_refuses_values_that_are_not_numbers(field: str, value: object) -> None:
    error = refusal(document(measurements={field: value}))
    assert error.field == f"measurements.{field}"
    assert "number" in error.reason


@pytest.mark.parametrize("needed", ["patient_id", "device_id", "timestamp", "measurements"])
def test_parse_reading_without_a_required_field_is_refused(needed: str) -> None:
    without = document()
    del without[needed]
    error = refusal(without)
    assert (error.field, error.reason) == (needed, "Field required")
    assert str(error) == f"{needed}: Field required"


@pytest.mark.parametrize("other", [None, True, 7, 1.5, "text", b"bytes", [], [document()], [[["deep"]]]])
def test_parse_reading_refuses_other_json_than_an_object(other: object) -> None:
    error = refusal(other)
    assert error.field == ""
    assert str(error) == error.reason


@pytest.mark.parametrize(
    ("sent", "meant"),
    [
        ("2025-08-24T10:30:00Z", datetime(2025, 8, 24, 10, 30, tzinfo=UTC)),
        ("2025-08-24T10:30:00", datetime(2025, 8, 24, 10, 30, tzinfo=UTC)),
        ("2025-08-24 10:30:00.5", datetime(2025, 8, 24, 10, 30, 0, 500_000, tzinfo=UTC)),
        ("2025-08-24T12:30:00+02:00", datetime(2025, 8, 24, 10, 30, tzinfo=UTC)),
        ("2025-08-24T23:30:00-05:00", datetime(2025, 8, 25, 4, 30, tzinfo=UTC)),
        ("20250824T103000Z", datetime(2025, 8, 24, 10, 30, tzinfo=UTC)),
        ("2025-08-24t10:30:00z", datetime(2025, 8, 24, 10, 30, tzinfo=UTC)),
    ],
)
def test_timestamp_becomes_utc(sent: str, meant: datetime) -> None:
    assert parse_reading(document(timestamp=sent)).timestamp == meant
    assert parse_reading(document(timestamp=sent)).timestamp.tzinfo is UTC


@pytest.mark.parametrize(
    "sent",
    [
        "",
        "now",
        "2025-08-24",
        "20250824",
        "2025-W34-7",
        "2025-02-30T10:00:00Z",
        "10:30:00",
        "2025-08-24T25:00:00Z",
    ],
)
def test_timestamp_with_an_invalid_format_is_refused(sent: str) -> None:
    assert refusal(document(timestamp=sent)).reason == (
        "must be an ISO 8601 date and time, as in 2025-08-24T10:30:00Z"
    )


@pytest.mark.parametrize("sent", [1756031400, 1756031400.5, True, None, ["2025-08-24T10:30:00Z"]])
def test_timestamp_of_another_type_is_refused(sent: object) -> None:
    assert refusal(document(timestamp=sent)).field == "timestamp"


@pytest.mark.parametrize("sent", ["0001-01-01T00:00:00+01:00", "9999-12-31T23:59:59-01:00"])
def test_timestamp_beyond_the_calendar_is_refused(sent: str) -> None:
    assert refusal(document(timestamp=sent)).reason == "lies outside the years 1 to 9999"


@pytest.mark.parametrize("field", ["patient_id", "device_id", "gateway_id"])
@pytest.mark.parametrize(
    "value", ["", "a/b", "a+b", "a#", "a\n", "\x00", "\x7f", "x" * 129, "\ud800", 7, None, ["a"]]
)
def test_invalid_identifier_is_refused(field: str, value: object) -> None:
    if (field, value) != ("gateway_id", None):
        assert refusal(document(**{field: value})).field == field


@pytest.mark.parametrize("value", ["x" * 128, "enfant n° 7", "patient:001", "患者", "p1_" + "0" * 32])
def test_unusual_identifier_is_accepted(value: str) -> None:
    assert parse_reading(document(patient_id=value)).patient_id == value


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("message_id", "42"),
        ("message_id", 42),
        ("seq", -1),
        ("seq", 2**63),
        ("seq", 1.5),
        ("seq", 2.0**63),
        ("seq", "1"),
        ("seq", True),
        ("boot", -1),
        ("source", "carrier pigeon"),
        ("late", "yes"),
        ("late", 1),
        ("signal", "strong"),
    ],
)
def test_optional_field_with_a_wrong_value_is_refused(field: str, value: object) -> None:
    assert refusal(document(**{field: value})).field == field


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("battery_pct", 101),
        ("battery_pct", -1),
        ("battery_pct", 50.5),
        ("battery_pct", True),
        ("site", "x" * 33),
    ],
)
def test_signal_with_a_wrong_value_is_refused(field: str, value: object) -> None:
    assert refusal(document(signal={field: value})).field == f"signal.{field}"


def test_invalid_message_id_is_refused_with_a_clear_error() -> None:
    assert refusal(document(message_id="not-a-uuid")).reason == "must be a UUID"


def test_invalid_values_stay_in_the_record() -> None:
    reading = measured(spo2_pct=0, freq_card=301, freq_resp=120, temp_corp=24.9)
    assert reading.measurements.present() == {
        "spo2_pct": 0,
        "freq_card": 301,
        "freq_resp": 120,
        "temp_corp": 24.9,
    }
    assert reading.measurements.invalid_fields == ("spo2_pct", "freq_card", "temp_corp")
    assert reading.to_wire()["measurements"]["spo2_pct"] == 0


def test_plausible_of_valid_invalid_and_absent() -> None:
    measurements = Measurements(spo2_pct=87.6, freq_card=0)
    assert measurements.plausible("spo2_pct") == 87.6
    assert measurements.plausible("freq_card") is None
    assert measurements.plausible("temp_corp") is None


def test_reading_cannot_be_changed() -> None:
    reading = measured(spo2_pct=97)
    with pytest.raises(ValidationError):
        reading.late = True  # type: ignore[misc]
    with pytest.raises(ValidationError):
        reading.measurements.spo2_pct = 98.0  # type: ignore[misc]


@given(any_vitals(), st.datetimes(timezones=st.just(UTC)))
def test_wire_form_reads_back_as_the_same_reading(vitals: dict[str, float], moment: datetime) -> None:
    reading = parse_reading(document(measurements=vitals, timestamp=moment.isoformat()))
    assert parse_reading(parse_json(json.dumps(reading.to_wire(), allow_nan=False))) == reading
    assert reading.timestamp == moment


def survives(document: object) -> None:
    """Check that a document is refused with InvalidReading, or can be evaluated, scored and encoded."""
    try:
        reading = parse_reading(document)
    except InvalidReading:
        return
    json.dumps(reading.to_wire(), allow_nan=False).encode()
    quality_score(reading)
    records(reading, MESSAGE_ID)


@given(ANY_JSON)
def test_parse_reading_of_any_json_raises_only_invalid_reading(anything: object) -> None:
    survives(anything)


@given(st.dictionaries(st.sampled_from(FIELDS), ANY_JSON, max_size=3))
def test_parse_reading_of_any_field_raises_only_invalid_reading(changes: dict[str, Any]) -> None:
    survives(document(**changes))


@given(st.dictionaries(st.sampled_from(list(PLAUSIBLE)), ANY_JSON))
def test_parse_reading_of_any_vitals_raises_only_invalid_reading(vitals: dict[str, Any]) -> None:
    survives(document(measurements=vitals))


@given(ANY_TEXT)
def test_parse_reading_of_any_timestamp_raises_only_invalid_reading(text: str) -> None:
    survives(document(timestamp=text))


@given(st.datetimes(), st.timedeltas(), st.sampled_from("+-"))
def test_parse_reading_of_any_zone_raises_only_invalid_reading(
    moment: datetime, offset: Any, sign: str
) -> None:
    survives(document(timestamp=f"{moment.isoformat()}{sign}{offset}"))


@pytest.mark.parametrize("field", FIELDS)
def test_parse_reading_nested_deeply_raises_only_invalid_reading(field: str) -> None:
    deep: Any = "end"
    for _ in range(100_000):
        deep = [deep]
    survives(document(**{field: deep}))
    while isinstance(deep, list):  # taken apart gently: deallocating the nest at once is deep too
        (deep,) = deep


@given(st.binary() | st.text().map(str.encode) | ANY_JSON.map(lambda value: json.dumps(value).encode()))
def test_parse_json_of_any_bytes_raises_only_invalid_reading(data: bytes) -> None:
    with suppress(InvalidReading):
        parse_json(data)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b"[" * 300 + b"]" * 300,
        b"NaN",
        b"-Infinity",
        b'{"spo2_pct": NaN}',
        b"1" * 5000,
        b"\xff",
        b'"\xed\xa0\x80"',
        b'"\\ud800"',
        '"\ud800"',
        b'{"a": 1} x',
        '{"a": 1}'.encode("utf-16"),
        '{"a": 1}'.encode("utf-32-be"),
    ],
    ids=lambda data: repr(data[:12]),
)
def test_parse_json_refuses(data: bytes | str) -> None:
    with pytest.raises(InvalidReading):
        parse_json(data)


@pytest.mark.parametrize("depth", [1, 100, 200])
def test_parse_json_of_a_nested_document_can_be_encoded_again(depth: int) -> None:
    assert json.dumps(parse_json("[" * depth + "]" * depth)) == "[" * depth + "]" * depth


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_parse_json_reads_numbers_as_the_standard_library_does(number: float) -> None:
    assert parse_json(repr(number)) == number


def test_parse_json_skips_a_byte_order_mark() -> None:
    assert parse_json(b'\xef\xbb\xbf{"a": 1}') == {"a": 1}


def test_parse_json_of_a_duplicate_key_uses_the_last() -> None:
    assert parse_json('{"a": 1, "a": 2}') == {"a": 2}


def test_number_that_overflows_to_infinity_is_refused() -> None:
    text = json.dumps(document()).replace("92", "1e999")
    assert refusal(parse_json(text)).field == "measurements.freq_card"


def reason(document: object) -> str:
    """All that a log could show of an error, its causes included; empty if the document is accepted."""
    try:
        parse_reading(document)
    except InvalidReading:
        return traceback.format_exc()
    return ""


SECRET = st.text(st.characters(codec="ascii", categories=["Lu", "Ll"]), min_size=6, max_size=40).map(
    lambda word: f"zq{word}qz"
)


def everywhere(secret: str) -> list[Any]:
    """Invalid documents, each with the secret in another place."""
    fields = (secret, [secret], {secret: secret}, secret + "\n", secret + "/", secret * 40)
    return [
        *(document(**{field: value}) for field in FIELDS for value in fields),
        *(document(measurements={field: value}) for field in PLAUSIBLE for value in fields),
        *(
            document(signal={field: value})
            for field in ("contact", "battery_pct", "site")
            for value in fields
        ),
        document(patient_id=secret, timestamp=None),
        secret,
        [secret],
        {secret: secret},
    ]


@given(SECRET)
def test_error_never_quotes_the_value(secret: str) -> None:
    for anything in everywhere(secret):
        assert secret not in reason(anything)


@given(st.integers(10**9, 10**15))
def test_error_never_quotes_the_number(number: int) -> None:
    for anything in (
        *(document(**{field: number}) for field in FIELDS),
        document(signal={"battery_pct": number}),
    ):
        assert str(number) not in reason(anything)


@given(
    SECRET,
    st.sampled_from(['{"patient_id": "%s', '{"patient_id": %s}', '{"%s" 1}', '"\\%s"', "[%s]", '"%s\n"']),
)
def test_parse_json_never_quotes_the_text(secret: str, shape: str) -> None:
    with pytest.raises(InvalidReading) as refused:
        parse_json(shape % secret)
    assert secret not in str(refused.value)


def test_derived_message_id_of_a_numbered_reading() -> None:
    # SHA-1 of the namespace's bytes and "ble-001/3/42/1756031400123", version and variant bits set by hand.
    assert derived_message_id("ble-001", 3, 42, 1756031400123) == UUID("be3452c5-80f6-5a5f-8a2c-c8dced59386e")


@given(*[st.tuples(st.text("ab/", max_size=3), *[st.integers(0, 12)] * 3)] * 2)
def test_derived_message_id_differs_where_the_reading_does(
    one: tuple[str, int, int, int], other: tuple[str, int, int, int]
) -> None:
    assert (derived_message_id(*one) == derived_message_id(*other)) == (one == other)


def test_reading_is_accepted_as_its_own_document() -> None:
    reading = measured(spo2_pct=97)
    assert isinstance(reading, Reading)
    assert parse_reading(reading) is reading
