import stat
from pathlib import Path

import pytest

from cloud_ingest.errors import InvalidSettings
from cloud_ingest.secret_file import create_secret, read_secret, replace_secret


def test_create_secret_has_mode_0600_and_does_not_overwrite(tmp_path: Path) -> None:
    path = tmp_path / "new" / "secret"
    create_secret(path, "first")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with pytest.raises(FileExistsError):
        create_secret(path, "second")
    assert path.read_text() == "first"
    assert list(path.parent.iterdir()) == [path]


def test_replace_secret_replaces_the_file_and_its_mode(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text("world-readable")
    replace_secret(path, "second")
    assert (read_secret(path, "X"), stat.S_IMODE(path.stat().st_mode)) == ("second", 0o600)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("content", "mode", "message"),
    [
        (b"secret", 0o644, "chmod 600"),
        (b"secret", 0o640, "chmod 600"),
        (b"secret", 0o602, "chmod 600"),
        (b"", 0o600, "is empty"),
        (b" \n", 0o600, "is empty"),
        (b"\xff\xfe\x00", 0o600, "not a text file"),
    ],
)
def test_read_secret_refuses_unusable_files(tmp_path: Path, content: bytes, mode: int, message: str) -> None:
    path = tmp_path / "secret"
    path.write_bytes(content)
    path.chmod(mode)
    with pytest.raises(InvalidSettings, match=f"^API_X .*{message}"):
        read_secret(path, "API_X")


def test_read_secret_of_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(InvalidSettings, match="No such file"):
        read_secret(tmp_path / "missing", "API_X")
