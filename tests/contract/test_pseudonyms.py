"""Section 5: `p1_` and the first 32 hex digits of HMAC-SHA-256(key, patient_id)."""

from __future__ import annotations

import hashlib
import re

import pytest

from vitals.errors import InvalidPseudonymKey
from vitals.pseudonym import KEY_BYTES, Pseudonymiser, new_key, parse_keys

KEY = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"


def test_pseudonym_is_the_hmac_openssl_computes() -> None:
    # printf patient-001-ss | openssl dgst -sha256 -mac HMAC -macopt hexkey:<KEY>
    digest = "b8351f60d5bad4bcd6f053c32d6ad0946117a3bb91f4d071286920e717821a72"
    assert parse_keys(f"1:{KEY}").pseudonym("patient-001-ss") == "p1_" + digest[:32]


def test_pseudonym_is_the_hmac_of_rfc_2104() -> None:
    """HMAC is H(K ^ opad, H(K ^ ipad, text)), with the key padded by zeros to 64 bytes."""
    key = bytes.fromhex(KEY).ljust(64, b"\x00")
    inner = hashlib.sha256(bytes(byte ^ 0x36 for byte in key) + b"patient-002-as").digest()
    outer = hashlib.sha256(bytes(byte ^ 0x5C for byte in key) + inner).hexdigest()
    assert Pseudonymiser({1: bytes.fromhex(KEY)}).pseudonym("patient-002-as") == f"p1_{outer[:32]}"


def test_pseudonym_has_prefix_and_32_hex_digits() -> None:
    assert re.fullmatch(r"p1_[0-9a-f]{32}", parse_keys(new_key()).pseudonym("patient-001-ss"))


def test_pseudonym_contains_the_key_version() -> None:
    assert Pseudonymiser({3: bytes.fromhex(KEY)}).pseudonym("patient-001-ss").startswith("p3_b8351f60")


def test_key_has_at_least_256_bits() -> None:
    assert KEY_BYTES * 8 == 256
    with pytest.raises(InvalidPseudonymKey):
        parse_keys(f"1:{KEY[:-2]}")
