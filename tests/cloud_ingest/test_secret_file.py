import stat
from pathlib import Path

import pytest

from cloud_ingest.errors import InvalidSettings
from cloud_ingest.secret_file import create_secret, read_secret, replace_secret


def test_create_secret_is_for_its_owner_only_and_never_overwrites(tmp_path: Path) -> None:
    path = tmp_path / "new" / "secret"
    create_secret(path, "first")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with pytest.raises(FileExistsError):
        create_secret(path, "second")
    assert path.read_text() == "first"
    assert list(path.parent.iterdir()) == [path]


def test_replace_secret_puts_the_new_in_place_of_the_old(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text("world-readable")
    replace_secret(path, "second")
    assert (read_secret(path, "X"), stat.S_IMODE(path.stat().st_mode)) == ("second", 0o600)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("content", "mode", "says"),
    [
        (b"secret", 0o644, "chmod 600"),
        (b"secret", 0o640, "chmod 600"),
        (b"secret", 0o602, "chmod 600"),
        (b"", 0o600, "is empty"),
        (b" \n", 0o600, "is empty"),
        (b"\xff\xfe\x00", 0o600, "not a text file"),
    ],
)
def test_read_secret_refuses_what_protects_nobody(
    tmp_path: Path, content: bytes, mode: int, says: str
) -> None:
    path = tmp_path / "secret"
    path.write_bytes(content)
    path.chmod(mode)
    with pytest.raises(InvalidSettings, match=f"^API_X .*{says}"):
        read_secret(path, "API_X")


def test_read_secret_of_no_file(tmp_path: Path) -> None:
    with pytest.raises(InvalidSettings, match="No such file"):
        read_secret(tmp_path / "missing", "API_X")
