"""The bracelet's record and status: golden bytes, truncation, extension and round trips."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.vitals.samples import measured
from vitals.errors import MalformedRecord
from vitals.gatt.bracelet import BraceletRecord, BraceletStatus, RecordFlag, StatusFlag
from vitals.reading import Measurements
from vitals.rules import evaluate

# seq 42, 2025-08-24T10:30:00.123Z, clock set + motion, boot 3, 87.60 %, 120.00 /min, none, 37.96 °C
RECORD = bytes.fromhex("2A 00 00 00  BB B8 A0 DB 98 01  05  03  38 22  E0 2E  00 80  D4 0E")
SEEN = BraceletRecord(
    seq=42,
    boot=3,
    device_time_ms=1756031400123,
    flags=RecordFlag.CLOCK_SET | RecordFlag.MOTION,
    measurements=Measurements(spo2_pct=87.6, freq_card=120, temp_corp=37.96),
)
# boot 3, clock set + worn, 80 %, the same moment, 40 to 42
STATUS = bytes.fromhex("03  03  50  BB B8 A0 DB 98 01  28 00 00 00  2A 00 00 00")
STATE = BraceletStatus(
    boot=3,
    flags=StatusFlag.CLOCK_SET | StatusFlag.WORN,
    battery_pct=80,
    clock_ms=1756031400123,
    oldest_seq=40,
    newest_seq=42,
)


def test_record_from_bytes() -> None:
    assert BraceletRecord.from_bytes(RECORD) == SEEN


def test_record_to_bytes() -> None:
    assert bytes(SEEN) == RECORD


def test_record_orders_its_vitals_as_the_layout_says() -> None:
    raw = bytes.fromhex("07 00 00 00  00 00 00 00 00 00  01  00  16 26  F9 2E  3A 07  60 0E")
    vitals = Measurements(spo2_pct=97.5, freq_card=120.25, freq_resp=18.5, temp_corp=36.8)
    assert BraceletRecord.from_bytes(raw).measurements == vitals
    assert bytes(BraceletRecord(7, 0, 0, RecordFlag.CLOCK_SET, vitals)) == raw


def test_record_fits_the_smallest_notification() -> None:
    assert len(bytes(SEEN)) <= 23 - 3


def test_record_without_any_vital() -> None:
    raw = bytes.fromhex("00 00 00 00  00 00 00 00 00 00  02  00  00 80  00 80  00 80  00 80")
    nothing = BraceletRecord(0, 0, 0, RecordFlag.NO_CONTACT, None)
    assert BraceletRecord.from_bytes(raw) == nothing
    assert bytes(nothing) == raw


def test_record_at_the_ends_of_its_fields() -> None:
    raw = bytes.fromhex("FF FF FF FF  FF FF FF FF FF FF  0F  FF  FF 7F  01 80  00 00  FF FF")
    extreme = BraceletRecord(
        seq=4294967295,
        boot=255,
        device_time_ms=281474976710655,
        flags=RecordFlag.CLOCK_SET | RecordFlag.NO_CONTACT | RecordFlag.MOTION | RecordFlag.LOW_PERFUSION,
        measurements=Measurements(spo2_pct=327.67, freq_card=-327.67, freq_resp=0, temp_corp=-0.01),
    )
    assert BraceletRecord.from_bytes(raw) == extreme
    assert bytes(extreme) == raw


@pytest.mark.parametrize(
    ("raw", "vitals"),
    [
        ("60 22", {"spo2_pct": 88.0}),
        ("56 22", {"spo2_pct": 87.9}),
        ("38 22", {"spo2_pct": 87.6}),
        ("F0 23", {"spo2_pct": 92.0}),
        ("10 27", {"spo2_pct": 100.0}),
    ],
)
def test_record_keeps_saturation_to_the_hundredth(raw: str, vitals: dict[str, float]) -> None:
    data = RECORD[:12] + bytes.fromhex(raw) + bytes.fromhex("00 80 00 80 00 80")
    seen = BraceletRecord.from_bytes(data).measurements
    assert seen == Measurements(**vitals)
    assert seen is not None
    assert evaluate(measured(**seen.present())) == evaluate(measured(**vitals))


@pytest.mark.parametrize(("raw", "temperature"), [("D8 0E", 38.0), ("D4 0E", 37.96), ("4C 0E", 36.6)])
def test_record_keeps_temperature_to_the_hundredth(raw: str, temperature: float) -> None:
    data = RECORD[:12] + bytes.fromhex("00 80 00 80 00 80") + bytes.fromhex(raw)
    assert BraceletRecord.from_bytes(data).measurements == Measurements(temp_corp=temperature)


def hundredths() -> st.SearchStrategy[float]:
    return st.integers(-0x7FFF, 0x7FFF).map(lambda number: number / 100)


FIELDS = ("spo2_pct", "freq_card", "freq_resp", "temp_corp")
RECORDS = st.builds(
    BraceletRecord,
    seq=st.integers(0, 2**32 - 1),
    boot=st.integers(0, 255),
    device_time_ms=st.integers(0, 2**48 - 1),
    flags=st.integers(0, 15).map(RecordFlag),
    measurements=st.none()
    | st.fixed_dictionaries({}, optional={field: hundredths() for field in FIELDS})
    .filter(bool)
    .map(lambda vitals: Measurements(**vitals)),
)
STATUSES = st.builds(
    BraceletStatus,
    boot=st.integers(0, 255),
    flags=st.integers(0, 7).map(StatusFlag),
    battery_pct=st.integers(0, 100),
    clock_ms=st.integers(0, 2**48 - 1),
    oldest_seq=st.integers(0, 2**32 - 1),
    newest_seq=st.integers(0, 2**32 - 1),
)


@given(RECORDS)
def test_record_round_trip(record: BraceletRecord) -> None:
    assert BraceletRecord.from_bytes(bytes(record)) == record


@given(STATUSES)
def test_status_round_trip(status: BraceletStatus) -> None:
    assert BraceletStatus.from_bytes(bytes(status)) == status


@given(st.binary(min_size=20, max_size=20))
def test_any_twenty_bytes_are_a_record_or_refused(data: bytes) -> None:
    if data[10] > 0x0F:
        with pytest.raises(MalformedRecord, match="unknown flags"):
            BraceletRecord.from_bytes(data)
    else:
        assert bytes(BraceletRecord.from_bytes(data)) == data


@given(RECORDS, st.binary(min_size=1, max_size=20))
def test_record_truncated_or_extended_is_refused_with_its_bytes(record: BraceletRecord, more: bytes) -> None:
    whole = bytes(record)
    for data in (*(whole[:length] for length in range(len(whole))), whole + more):
        with pytest.raises(MalformedRecord, match="20 bytes expected") as refused:
            BraceletRecord.from_bytes(data)
        assert refused.value.data == data


@given(STATUSES, st.binary(min_size=1, max_size=20))
def test_status_truncated_or_extended_is_refused_with_its_bytes(status: BraceletStatus, more: bytes) -> None:
    whole = bytes(status)
    for data in (*(whole[:length] for length in range(len(whole))), whole + more):
        with pytest.raises(MalformedRecord, match="17 bytes expected") as refused:
            BraceletStatus.from_bytes(data)
        assert refused.value.data == data


@pytest.mark.parametrize("flags", [0x10, 0x80, 0xFF])
def test_record_with_unknown_flags_is_refused_with_its_bytes(flags: int) -> None:
    data = RECORD[:10] + bytes((flags,)) + RECORD[11:]
    with pytest.raises(MalformedRecord, match="unknown flags") as refused:
        BraceletRecord.from_bytes(data)
    assert refused.value.data == data


@pytest.mark.parametrize(
    ("number", "reason"),
    [
        (37.965, "finer than a hundredth"),
        (1e-9, "finer than a hundredth"),
        (-327.68, "reserved for a vital that was not measured"),
        (327.68, "bracelet record"),
        (-327.69, "bracelet record"),
        (1e300, "bracelet record|finer"),
        (1.7e308, "bracelet record"),
    ],
)
def test_record_of_a_number_that_does_not_fit_is_refused(number: float, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        bytes(BraceletRecord(1, 1, 1, RecordFlag(0), Measurements(temp_corp=number)))


@pytest.mark.parametrize(
    ("seq", "boot", "time"), [(-1, 0, 0), (2**32, 0, 0), (0, -1, 0), (0, 256, 0), (0, 0, -1), (0, 0, 2**48)]
)
def test_record_of_a_counter_that_does_not_fit_is_refused(seq: int, boot: int, time: int) -> None:
    with pytest.raises(ValueError, match="bracelet record"):
        bytes(BraceletRecord(seq, boot, time, RecordFlag(0), None))


def test_status_from_bytes() -> None:
    assert BraceletStatus.from_bytes(STATUS) == STATE


def test_status_to_bytes() -> None:
    assert bytes(STATE) == STATUS


def test_status_of_an_empty_flash() -> None:
    raw = bytes.fromhex("00  00  00  00 00 00 00 00 00  01 00 00 00  00 00 00 00")
    assert BraceletStatus.from_bytes(raw) == BraceletStatus(
        0, StatusFlag(0), 0, 0, oldest_seq=1, newest_seq=0
    )


@pytest.mark.parametrize(
    ("at", "value", "reason"),
    [(1, 0x08, "unknown flags"), (1, 0xFF, "unknown flags"), (2, 101, "battery at 101 %")],
)
def test_invalid_status_is_refused_with_its_bytes(at: int, value: int, reason: str) -> None:
    data = STATUS[:at] + bytes((value,)) + STATUS[at + 1 :]
    with pytest.raises(MalformedRecord, match=reason) as refused:
        BraceletStatus.from_bytes(data)
    assert refused.value.data == data


@pytest.mark.parametrize(
    ("boot", "battery", "clock", "oldest", "newest"),
    [
        (256, 0, 0, 0, 0),
        (0, 101, 0, 0, 0),
        (0, -1, 0, 0, 0),
        (0, 0, 2**48, 0, 0),
        (0, 0, -1, 0, 0),
        (0, 0, 0, 2**32, 0),
    ],
)
def test_status_that_does_not_fit_is_refused(
    boot: int, battery: int, clock: int, oldest: int, newest: int
) -> None:
    with pytest.raises(ValueError, match="bracelet status"):
        bytes(BraceletStatus(boot, StatusFlag(0), battery, clock, oldest, newest))
