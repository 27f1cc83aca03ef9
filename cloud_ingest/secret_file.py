"""Files that hold secrets: readable by their owner only, and written atomically.

The services do not run as root, but an operator may run commands as root. A file that root writes keeps its
owner, or gets the owner of its directory.
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
    """Return the text of a file that only its owner can read.

    Args:
        variable: the setting that names the file, for the error message.
        missing: advice to add to the message where there is no file.

    Raises:
        InvalidSettings: the file is missing, readable by other users, empty or not text.
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
    """Write a new file with mode 0600, and sync it to disk.

    Raises:
        FileExistsError: the file exists; it is not changed.
        OSError: the directory cannot be written.
    """
    _write(path, text, os.link)


def replace_secret(path: Path, text: str) -> None:
    """Replace a file atomically with one of mode 0600, and sync it to disk.

    Raises:
        OSError: the directory cannot be written, or the new file cannot be given to the owner of the old one.
    """
    _write(path, text, os.replace)


def make_directory(path: Path, mode: int = 0o777) -> None:
    """Make a directory and its parents; one that root makes gets the owner of its parent.

    Raises:
        OSError: it cannot be made.
    """
    if path.is_dir():
        return
    make_directory(path.parent)
    path.mkdir(mode, exist_ok=True)
    if os.geteuid() == 0:
        parent = path.parent.stat()
        os.chown(path, parent.st_uid, parent.st_gid, follow_symlinks=False)


def reason_of(error: OSError, path: Path) -> str:
    """Return why a file cannot be used, with its owner where permission is denied."""
    owner = _nearest_stat(path).st_uid
    if not isinstance(error, PermissionError) or owner == os.geteuid():
        return str(error.strerror)
    try:
        name = pwd.getpwuid(owner).pw_name
    except KeyError:
        name = f"user {owner}"
    return f"{error.strerror}: it belongs to {name}; run this as that user"


def _nearest_stat(path: Path) -> os.stat_result:
    """Return the status of the file, or of the nearest parent directory that is accessible."""
    try:
        return path.stat()
    except OSError:
        if path == path.parent:
            raise
        return _nearest_stat(path.absolute().parent)


def _write(path: Path, text: str, put: Callable[[str, Path], None]) -> None:
    make_directory(path.parent)
    owner = _nearest_stat(path)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")  # mode 0600
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            # Without root a new file belongs to its writer; replacing another user's file would lock it out.
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
