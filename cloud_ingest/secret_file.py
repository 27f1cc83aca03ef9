"""Files that hold secrets: readable by their owner only, written whole or not at all."""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Callable
from pathlib import Path

from cloud_ingest.errors import InvalidSettings


def read_secret(path: Path, variable: str, missing: str = "") -> str:
    """The text of a file that only its owner can read.

    Args:
        variable: the setting that names the file, for the error message.
        missing: what the message adds where there is no file.

    Raises:
        InvalidSettings: it is missing, readable by others, empty or not text.
    """
    try:
        with path.open(encoding="utf-8") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            if mode & 0o077:
                raise InvalidSettings(
                    f"{variable} {path}: mode {mode:04o} lets others read it; chmod 600 {path}"
                )
            text = file.read()
    except OSError as error:
        advice = missing if isinstance(error, FileNotFoundError) else ""
        raise InvalidSettings(f"{variable} {path}: {error.strerror}{advice}") from None
    except UnicodeDecodeError:
        raise InvalidSettings(f"{variable} {path}: not a text file") from None
    if not text.strip():
        raise InvalidSettings(f"{variable} {path}: is empty")
    return text


def create_secret(path: Path, text: str) -> None:
    """Write a new file with mode 0600; it survives a power cut.

    Raises:
        FileExistsError: there is one already, which stays as it is.
        OSError: the directory cannot be written.
    """
    _write(path, text, os.link)


def replace_secret(path: Path, text: str) -> None:
    """Write a file with mode 0600 in the place of what was there; a reader sees the old one or the new one.

    Raises:
        OSError: the directory cannot be written.
    """
    _write(path, text, os.replace)


def _write(path: Path, text: str, put: Callable[[str, Path], None]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")  # mode 0600
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        put(name, path)
    finally:
        Path(name).unlink(missing_ok=True)
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
