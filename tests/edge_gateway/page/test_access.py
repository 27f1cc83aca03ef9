"""PINs, the limit on wrong ones, and cookies that outlive the gateway."""

from __future__ import annotations

from pathlib import Path

from edge_gateway.page.access import Access, load_key


def test_right_pin_is_accepted_and_five_wrong_ones_block_for_a_minute() -> None:
    now = 0.0
    access = Access(b"key", "4711", lambda: now)
    assert access.check_pin("4711")
    assert [access.check_pin(pin) for pin in ("", "4712", "47110", "é", "0000")] == [False] * 5
    assert access.blocked
    assert not access.check_pin("4711")
    now = 60.0
    assert access.check_pin("4711")


def test_cookie_is_valid_until_the_pin_or_the_key_changes() -> None:
    cookie = Access(b"key", "4711").cookie("Fatou")
    assert Access(b"key", "4711").user_of(cookie) == "Fatou"
    assert Access(b"key", "4712").user_of(cookie) is None
    assert Access(b"other", "4711").user_of(cookie) is None
    for forged in (None, "", "x", cookie[:-1], "Fatou." + cookie):
        assert Access(b"key", "4711").user_of(forged) is None


def test_key_is_created_once_and_readable_by_its_owner_only(tmp_path: Path) -> None:
    key = load_key(tmp_path / "page.key")
    assert len(key) == 32
    assert load_key(tmp_path / "page.key") == key
    assert (tmp_path / "page.key").stat().st_mode & 0o777 == 0o600


def test_key_that_cannot_be_stored_is_valid_for_this_run_only(tmp_path: Path) -> None:
    first, second = (load_key(tmp_path / "missing" / "page.key") for _ in range(2))
    assert (len(first), len(second), first == second) == (32, 32, False)


def test_incomplete_key_file_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "page.key").write_bytes(b"")
    key = load_key(tmp_path / "page.key")
    assert (len(key), load_key(tmp_path / "page.key")) == (32, key)
