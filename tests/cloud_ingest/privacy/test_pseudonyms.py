"""The pseudonym key file."""

import stat
from pathlib import Path

import pytest

from cloud_ingest.cli import main
from cloud_ingest.errors import InvalidSettings
from cloud_ingest.privacy.pseudonyms import load_key, make_key, pseudonyms
from cloud_ingest.settings import Settings


def test_first_start_creates_a_key_readable_by_its_owner_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    first = pseudonyms(Settings.from_environment({}), first_start=True).pseudonym("patient-001-ss")
    key = tmp_path / "data" / "pseudonym.key"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert pseudonyms(Settings.from_environment({})).pseudonym("patient-001-ss") == first
    assert list(key.parent.iterdir()) == [key]


def test_make_key_does_not_replace_an_existing_key(tmp_path: Path) -> None:
    assert make_key(tmp_path / "key")
    before = (tmp_path / "key").read_text()
    assert not make_key(tmp_path / "key")
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


def test_load_key_refuses_an_invalid_key(tmp_path: Path) -> None:
    file = tmp_path / "key"
    with pytest.raises(InvalidSettings, match="No such file"):
        load_key(file)
    file.touch(0o600)
    for content in (b"", b"1:abcd", b"secret", b"\xff\xfe\x00"):
        file.write_bytes(content)
        with pytest.raises(InvalidSettings, match="PSEUDONYM_KEY_FILE"):
            load_key(file)


def test_configured_key_file_is_never_created(tmp_path: Path) -> None:
    settings = Settings.from_environment({"PSEUDONYM_KEY_FILE": str(tmp_path / "mistyped.key")})
    with pytest.raises(InvalidSettings, match=r"mistyped\.key: No such file.*pseudonym-key make"):
        pseudonyms(settings, first_start=True)
    assert not list(tmp_path.iterdir())


def test_only_the_api_creates_a_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PSEUDONYM_KEY_FILE", raising=False)
    for command in (["replay-errors"], ["replay-errors", "--dry-run"]):
        assert main(command) == 2
        assert "PSEUDONYM_KEY_FILE data/pseudonym.key: No such file" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_make_writes_a_key_once_and_prints_the_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "new" / "pseudonym.key"
    monkeypatch.setenv("PSEUDONYM_KEY_FILE", str(file))
    assert main(["pseudonym-key", "make"]) == 0
    assert capsys.readouterr().out == f"{file}\n"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    before, known = file.read_text(), load_key(file).pseudonym("patient-001-ss")
    assert main(["pseudonym-key", "make"]) == 2
    printed = capsys.readouterr()
    assert f"PSEUDONYM_KEY_FILE {file}: exists already" in printed.err
    assert printed.out == ""
    assert file.read_text() == before
    assert known.startswith("p1_")
