"""A PIN opens the page, five wrong ones close it for a minute, and a cookie outlives the gateway."""

from __future__ import annotations

from pathlib import Path

from edge_gateway.page.access import Access, key_in


def test_right_pin_is_admitted_and_five_wrong_ones_block_for_a_minute() -> None:
    now = 0.0
    access = Access(b"key", "4711", lambda: now)
    assert access.admits("4711")
    assert [access.admits(pin) for pin in ("", "4712", "47110", "é", "0000")] == [False] * 5
    assert access.blocked
    assert not access.admits("4711")
    now = 60.0
    assert access.admits("4711")


def test_cookie_names_somebody_until_the_pin_or_the_key_changes() -> None:
    cookie = Access(b"key", "4711").cookie("Fatou")
    assert Access(b"key", "4711").who(cookie) == "Fatou"
    assert Access(b"key", "4712").who(cookie) is None
    assert Access(b"other", "4711").who(cookie) is None
    for forged in (None, "", "x", cookie[:-1], "Fatou." + cookie):
        assert Access(b"key", "4711").who(forged) is None


def test_key_is_made_once_and_only_its_owner_may_read_it(tmp_path: Path) -> None:
    key = key_in(tmp_path / "page.key")
    assert len(key) == 32
    assert key_in(tmp_path / "page.key") == key
    assert (tmp_path / "page.key").stat().st_mode & 0o777 == 0o600


def test_key_that_the_disk_does_not_take_is_for_this_run_only(tmp_path: Path) -> None:
    first, second = (key_in(tmp_path / "missing" / "page.key") for _ in range(2))
    assert (len(first), len(second), first == second) == (32, 32, False)


def test_key_cut_short_by_a_full_disk_is_made_anew(tmp_path: Path) -> None:
    (tmp_path / "page.key").write_bytes(b"")
    key = key_in(tmp_path / "page.key")
    assert (len(key), key_in(tmp_path / "page.key")) == (32, key)
