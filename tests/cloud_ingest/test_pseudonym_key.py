import stat
from pathlib import Path

import pytest

from cloud_ingest.errors import InvalidSettings
from cloud_ingest.pseudonym_key import load_key, make_key, pseudonyms
from cloud_ingest.settings import Settings


def test_first_start_makes_a_key_for_its_owner_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    first = pseudonyms(Settings.from_environment({})).pseudonym("patient-001-ss")
    key = tmp_path / "data" / "pseudonym.key"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert pseudonyms(Settings.from_environment({})).pseudonym("patient-001-ss") == first
    assert list(key.parent.iterdir()) == [key]


def test_make_key_keeps_a_key_that_is_there(tmp_path: Path) -> None:
    make_key(tmp_path / "key")
    before = (tmp_path / "key").read_text()
    make_key(tmp_path / "key")
    assert (tmp_path / "key").read_text() == before


def test_load_key_known_pseudonym(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.touch(0o600)
    file.write_text("1:" + bytes(range(32)).hex())
    # printf patient-001-ss | openssl dgst -sha256 -mac HMAC -macopt hexkey:000102…1f
    assert load_key(file).pseudonym("patient-001-ss") == "p1_b8351f60d5bad4bcd6f053c32d6ad094"


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604])
def test_load_key_refuses_a_file_others_can_read(tmp_path: Path, mode: int) -> None:
    make_key(tmp_path / "key")
    (tmp_path / "key").chmod(mode)
    with pytest.raises(InvalidSettings, match="chmod 600"):
        load_key(tmp_path / "key")


def test_load_key_refuses_what_is_no_key(tmp_path: Path) -> None:
    file = tmp_path / "key"
    with pytest.raises(InvalidSettings, match="No such file"):
        load_key(file)
    file.touch(0o600)
    for content in (b"", b"1:abcd", b"secret", b"\xff\xfe\x00"):
        file.write_bytes(content)
        with pytest.raises(InvalidSettings, match="PSEUDONYM_KEY_FILE"):
            load_key(file)


def test_a_named_key_file_is_never_made(tmp_path: Path) -> None:
    with pytest.raises(InvalidSettings):
        pseudonyms(Settings.from_environment({"PSEUDONYM_KEY_FILE": str(tmp_path / "mistyped.key")}))
    assert not list(tmp_path.iterdir())
