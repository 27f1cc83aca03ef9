"""The file that holds the pseudonym key: made once, readable by its owner only."""

from __future__ import annotations

import logging
import os
import stat
import tempfile
from pathlib import Path
from typing import Protocol

from cloud_ingest.errors import InvalidSettings
from cloud_ingest.settings import Settings
from vitals.errors import InvalidPseudonymKey
from vitals.pseudonym import ClearIdentifiers, Pseudonymiser, new_key, parse_keys

log = logging.getLogger(__name__)


class Pseudonyms(Protocol):
    """Turns identifiers into pseudonyms, or passes them through."""

    def pseudonym(self, patient_id: str) -> str:
        """Pseudonym of one patient."""

    def every_pseudonym(self, patient_id: str) -> tuple[str, ...]:
        """Pseudonyms of one patient under each key version, the newest first."""

    def scrub(self, data: bytes) -> bytes:
        """Bytes with every patient identifier in them replaced."""


def pseudonyms(settings: Settings) -> Pseudonyms:
    """The pseudonyms the settings ask for; makes a key on the first start on loopback.

    Raises:
        InvalidSettings: the key file is missing, readable by others, or does not hold a good key.
    """
    if settings.pseudonymisation == "off":
        log.warning("PSEUDONYMISATION=off: patient identifiers pass in clear, for made-up patients only")
        return ClearIdentifiers()
    if settings.pseudonym_key_file is None and not settings.key_file.exists():
        make_key(settings.key_file)
    return load_key(settings.key_file)


def load_key(path: Path) -> Pseudonymiser:
    """Read a key file.

    Raises:
        InvalidSettings: it is missing, readable by others, or does not hold a good key.
    """
    try:
        with path.open() as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            if mode & 0o077:
                raise InvalidSettings(f"{path}: mode {mode:04o} lets others read the key; chmod 600 {path}")
            return parse_keys(file.read())
    except OSError as error:
        raise InvalidSettings(f"PSEUDONYM_KEY_FILE {path}: {error.strerror}") from None
    except (InvalidPseudonymKey, UnicodeDecodeError) as error:
        reason = error if isinstance(error, InvalidPseudonymKey) else "not a text file"
        raise InvalidSettings(f"PSEUDONYM_KEY_FILE {path}: {reason}") from None


def make_key(path: Path) -> None:
    """Write a fresh key with mode 0600, whole or not at all; a key that is there already stays.

    Raises:
        InvalidSettings: the directory cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=".pseudonym-")  # mode 0600
        try:
            with os.fdopen(descriptor, "w") as file:
                file.write(new_key())
                file.flush()
                os.fsync(file.fileno())
            os.link(name, path)
        finally:
            os.unlink(name)
        directory = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)  # the pseudonyms made with it outlive a power cut, so must the key
        finally:
            os.close(directory)
        log.warning(
            "made a pseudonym key in %s: keep a copy, without it no pseudonym can be made again", path
        )
    except FileExistsError:
        log.info("another process made the pseudonym key in %s", path)
    except OSError as error:
        raise InvalidSettings(f"{path}: cannot make the pseudonym key: {error.strerror}") from None
