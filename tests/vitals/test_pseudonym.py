"""Pseudonyms against digests computed by openssl; scrubbing of rejected bytes."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.vitals.samples import ANY_TEXT
from vitals.errors import InvalidPseudonymKey
from vitals.pseudonym import ClearIdentifiers, Pseudonymiser, new_key, parse_keys

KEY = bytes.fromhex("000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f")
NEWER = KEY[::-1]
ONE = Pseudonymiser({1: KEY})

# printf patient-001-ss | openssl dgst -sha256 -mac HMAC -macopt hexkey:000102…1e1f, first 32 digits
PATIENT_1 = "p1_b8351f60d5bad4bcd6f053c32d6ad094"
PATIENT_7 = "p1_d6dbdf2ddb55fa72cb01a7d42d254798"  # "patiënt 7" in UTF-8


@pytest.mark.parametrize(
    ("patient_id", "pseudonym"), [("patient-001-ss", PATIENT_1), ("patiënt 7", PATIENT_7)]
)
def test_pseudonym_agrees_with_openssl(patient_id: str, pseudonym: str) -> None:
    assert ONE.pseudonym(patient_id) == pseudonym


def test_pseudonym_uses_the_newest_key_and_names_it() -> None:
    both = Pseudonymiser({1: KEY, 2: NEWER})
    assert both.pseudonym("patient-001-ss").startswith("p2_")
    assert both.pseudonym("patient-001-ss")[3:] != PATIENT_1[3:]


@given(ANY_TEXT)
def test_pseudonym_of_any_text_has_its_form(patient_id: str) -> None:
    assert re.fullmatch(r"p1_[0-9a-f]{32}", ONE.pseudonym(patient_id))


@pytest.mark.parametrize(
    ("keys", "reason"),
    [
        ({}, "no pseudonym key given"),
        ({0: KEY}, "versions count from 1"),
        ({-1: KEY}, "versions count from 1"),
        ({1: KEY[:31]}, "248 bits, 256 are needed"),
        ({1: KEY, 2: b""}, "key 2 has 0 bits"),
        ({1: b"a" * 32}, "not random"),
        ({1: b"secret!" * 5}, "not random"),
    ],
)
def test_weak_key_is_refused(keys: dict[int, bytes], reason: str) -> None:
    with pytest.raises(InvalidPseudonymKey, match=reason):
        Pseudonymiser(keys)


def test_key_is_not_shown() -> None:
    assert KEY.hex() not in repr(ONE)
    assert repr(KEY) not in repr(ONE)


def test_parse_keys_with_comments_and_versions() -> None:
    text = f"# made in August\n\n1:{KEY.hex()}\n 2 : {NEWER.hex()}  # the newer\n"
    assert parse_keys(text) == Pseudonymiser({1: KEY, 2: NEWER})


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "no pseudonym key given"),
        ("# nothing\n", "no pseudonym key given"),
        (KEY.hex(), "line 1: expected <version>:<hexadecimal key>"),
        (f"one:{KEY.hex()}", "line 1: expected"),
        (f"1:{KEY.hex()}\n2:{KEY.hex()[:-1]}", "line 2: expected"),
        (f"1:{KEY.hex()}\n1:{NEWER.hex()}", "line 2: a second key of the same version"),
        (f"1:{KEY.hex()[:62]}", "248 bits"),
    ],
)
def test_parse_keys_error_does_not_contain_the_key(text: str, reason: str) -> None:
    with pytest.raises(InvalidPseudonymKey, match=reason) as refused:
        parse_keys(text)
    assert KEY.hex()[:8] not in str(refused.value)


def test_new_key_is_random_and_can_be_parsed() -> None:
    first, second = new_key(), new_key()
    assert re.fullmatch(r"1:[0-9a-f]{64}\n", first)
    assert first != second
    assert parse_keys(first).pseudonym("a") != parse_keys(second).pseudonym("a")


@pytest.mark.parametrize(
    ("refused", "kept"),
    [
        (b'{"patient_id": "patient-001-ss", "seq": NaN}', b'{"patient_id": "%s", "seq": NaN}'),
        (b'{"patient_id":"patient-001-ss"', b'{"patient_id":"%s"'),
        (b'{"a": 1, "patient_id"\n:\t"patient-001-ss" "b"', b'{"a": 1, "patient_id"\n:\t"%s" "b"'),
        (b'{"patient_id": "patient-001-ss', b'{"patient_id": "%s"'),
        (b'{"patient_id": "patient\\u002d001-ss"}', b'{"patient_id": "%s"}'),
        (b"{'patient_id': 'patient-001-ss'}", b"{'patient_id': \"%s\"}"),
        (b"{patient_id: patient-001-ss, seq: 1}", b'{patient_id: "%s", seq: 1}'),
        (b"patient_id=patient-001-ss&seq=1", b'patient_id="%s"&seq=1'),
        (b'{"patient\\u005fid": "patient-001-ss"}', b'{"patient\\u005fid": "%s"}'),
        (b'{"patientId": "patient-001-ss"}', b'{"patientId": "%s"}'),
        (b'"{\\"patient_id\\": \\"patient-001-ss\\"}"', b'"{\\"patient_id\\": "%s"}"'),
        (b'{"p\\u0061tient\\u005F\\u0049d": "patient-001-ss"}', b'{"p\\u0061tient\\u005F\\u0049d": "%s"}'),
        (b'{"patient": "patient-001-ss"}', b'{"patient": "%s"}'),
        (b'{"patient id"\xc2\xa0: "patient-001-ss"}', b'{"patient id"\xc2\xa0: "%s"}'),
        (b"<patient_id>patient-001-ss</patient_id>", b'<patient_id>"%s"</patient_id>'),
        (b'name="patient_id"\r\n\r\npatient-001-ss\r\n--x', b'name="patient_id"\r\n\r\n"%s"\r\n--x'),
        (b"patient_id=patient-001-ss seq=1", b'patient_id="%s" seq=1'),
    ],
    ids=repr,
)
def test_scrub_replaces_the_identifier_by_its_pseudonym(refused: bytes, kept: bytes) -> None:
    assert ONE.scrub(refused) == kept % PATIENT_1.encode()


def test_scrub_replaces_every_identifier_of_a_batch() -> None:
    batch = b'{"readings": [{"patient_id": "patient-001-ss"}, {"patient_id": "pati\xc3\xabnt 7"}, oops]}'
    assert ONE.scrub(batch) == (
        f'{{"readings": [{{"patient_id": "{PATIENT_1}"}}, {{"patient_id": "{PATIENT_7}"}}, oops]}}'.encode()
    )


@pytest.mark.parametrize(
    "refused",
    [
        b'{"patient_id": ["patient-001-ss"]}',
        b'{"patient_id": {"id": {"x": 1}, "name": "patient-001-ss"}}',
        b'{"patient_id": "\\ud800 patient-001-ss"}',
        b'{"patient_id": "patient-001-ss\\\n"}',
        b'{"patient_id": "patient-001-ss\\',
        b'{"patient_id": "\xff patient-001-ss"}',
        b'{"patient_id": \\patient-001-ss',
        b'{"patient_id": ' + b"[" * 100_000 + b"patient-001-ss",
        b'{"patient_id": 1' + b"0" * 5000 + b"patient-001-ss",
        b"patient_id: Zoe patient-001-ss",
        b"patient_id,seq\npatient-001-ss,1\n",
        b"patient_id patient-001-ss",
        b'{"patient_id"/*x*/: "patient-001-ss"}',
    ],
    ids=lambda data: repr(data[:24]),
)
def test_scrub_replaces_the_identifier_in_broken_documents(refused: bytes) -> None:
    assert b"patient-001-ss" not in ONE.scrub(refused)


@pytest.mark.parametrize(
    "untouched", [b"", b"\xff\x00", b'{"patient_id": null, "seq": 1}', b'{"device_id": "d"}', b'["patient"]']
)
def test_scrub_does_not_change_bytes_without_an_identifier(untouched: bytes) -> None:
    assert ONE.scrub(untouched) == untouched


@given(ANY_TEXT, st.booleans())
def test_scrub_of_any_identifier_inserts_its_pseudonym(patient_id: str, ascii_only: bool) -> None:
    document = json.dumps({"patient_id": patient_id, "seq": 1}, ensure_ascii=ascii_only)
    data = document.encode(errors="replace" if not ascii_only else "strict")
    said = json.loads(data)["patient_id"]
    assert json.loads(ONE.scrub(data)) == {"patient_id": ONE.pseudonym(said), "seq": 1}


@given(st.binary() | st.binary().map(lambda tail: b'{"patient_id": ' + tail))
def test_scrub_of_any_bytes_never_raises(data: bytes) -> None:
    ONE.scrub(data)


def test_scrub_of_megabytes_takes_linear_time() -> None:
    """A pattern that backtracks would exceed the time limit of the test."""
    for flood in (
        b'"patient_id"' + b" " * 10**6,
        b'"patient_id":"' + b"\\" * 10**6,
        b'"patient_id=\\"' + b"\\" * 10**6,
        b"\\" * 10**6 + b"u0070",
        b"patient_id: " + b"a " * 10**6 + b":",
        b"patient_id:" * 10**5,
    ):
        ONE.scrub(flood)


def test_clear_identifiers_pass_through() -> None:
    assert ClearIdentifiers().pseudonym("patient-001-ss") == "patient-001-ss"
    assert ClearIdentifiers().scrub(b'{"patient_id": "patient-001-ss"') == b'{"patient_id": "patient-001-ss"'
