"""Files that hold secrets: readable by their owner only, written whole or not at all.

Commands are run by root too, and the services are not: what root writes belongs to whom it belonged to
before, or to the owner of its directory.
"""

from __future__ import annotations

import os
import pwd
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
        raise InvalidSettings(f"{variable} {path}: {reason_of(error, path)}{advice}") from None
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
        OSError: the directory cannot be written, or the file would no longer be its owner's.
    """
    _write(path, text, os.replace)


def make_directory(path: Path, mode: int = 0o777) -> None:
    """Make a directory with those above it; what root makes belongs to the owner of the one above.

    Raises:
        OSError: it cannot be made.
    """
    if path.is_dir():
        return
    make_directory(path.parent)
    path.mkdir(mode, exist_ok=True)
    if os.geteuid() == 0:
        above = path.parent.stat()
        os.chown(path, above.st_uid, above.st_gid, follow_symlinks=False)


def reason_of(error: OSError, path: Path) -> str:
    """Why a file cannot be used, and who can where that is somebody else."""
    owner = _owner_of(path).st_uid
    if not isinstance(error, PermissionError) or owner == os.geteuid():
        return str(error.strerror)
    try:
        name = pwd.getpwuid(owner).pw_name
    except KeyError:
        name = f"user {owner}"
    return f"{error.strerror}: it belongs to {name}; run this as that user"


def _owner_of(path: Path) -> os.stat_result:
    """Of the file, or of the nearest directory above it that can be seen."""
    try:
        return path.stat()
    except OSError:
        if path == path.parent:
            raise
        return _owner_of(path.absolute().parent)


def _write(path: Path, text: str, put: Callable[[str, Path], None]) -> None:
    make_directory(path.parent)
    owner = _owner_of(path)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")  # mode 0600
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            # A new file of an ordinary user is its own; in another's place it would lock that one out.
            if owner.st_uid != os.geteuid() and (os.geteuid() == 0 or put is os.replace):
                os.fchown(descriptor, owner.st_uid, owner.st_gid)
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
