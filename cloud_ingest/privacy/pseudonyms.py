"""The file that holds the pseudonym key: made once, readable by its owner only."""

from __future__ import annotations

import logging
from functools import lru_cache
from pathlib import Path
from typing import Protocol

from cloud_ingest.errors import InvalidSettings
from cloud_ingest.secret_file import create_secret, read_secret
from cloud_ingest.settings import Settings
from vitals.errors import InvalidPseudonymKey
from vitals.pseudonym import ClearIdentifiers, Pseudonymiser, new_key, parse_keys

log = logging.getLogger(__name__)

VARIABLE = "PSEUDONYM_KEY_FILE"
_MISSING = "; kidjamo-ingest pseudonym-key make makes one, which every machine needs a copy of"


class Pseudonyms(Protocol):
    """Turns identifiers into pseudonyms, or passes them through."""

    def pseudonym(self, patient_id: str) -> str:
        """Pseudonym of one patient."""

    def every_pseudonym(self, patient_id: str) -> tuple[str, ...]:
        """Pseudonyms of one patient under each key version, the newest first."""

    def scrub(self, data: bytes) -> bytes:
        """Bytes with every patient identifier in them replaced."""


REMEMBERED = 20_000
"""Patients whose pseudonyms are kept in memory, the latest ones."""


class Remembered:
    """Pseudonyms that need not be computed for each reading of the same child."""

    def __init__(self, source: Pseudonyms) -> None:
        self.pseudonym = lru_cache(REMEMBERED)(source.pseudonym)
        self.scrub, self.every_pseudonym = source.scrub, source.every_pseudonym


def pseudonyms(settings: Settings, *, first_start: bool = False) -> Pseudonyms:
    """The pseudonyms the settings ask for.

    Args:
        first_start: whether a key is made where none is named and none is there. Only the API asks for it: a
            command run elsewhere would give children other pseudonyms.

    Raises:
        InvalidSettings: the key file is missing, readable by others, or does not hold a good key.
    """
    if settings.pseudonymisation == "off":
        log.warning("PSEUDONYMISATION=off: patient identifiers pass in clear, for made-up patients only")
        return ClearIdentifiers()
    if first_start and settings.pseudonym_key_file is None and not settings.key_file.exists():
        make_key(settings.key_file)
    return Remembered(load_key(settings.key_file))


def load_key(path: Path) -> Pseudonymiser:
    """Read a key file.

    Raises:
        InvalidSettings: it is missing, readable by others, or does not hold a good key.
    """
    try:
        return parse_keys(read_secret(path, VARIABLE, _MISSING))
    except InvalidPseudonymKey as error:
        raise InvalidSettings(f"{VARIABLE} {path}: {error}") from None


def make_key(path: Path) -> bool:
    """Write a fresh key with mode 0600, whole or not at all; False if one is there already, which stays.

    Raises:
        InvalidSettings: the directory cannot be written.
    """
    try:
        create_secret(path, new_key())  # the pseudonyms made with it outlive a power cut, so must the key
        log.warning(
            "made a pseudonym key in %s: keep a copy, without it no pseudonym can be made again", path
        )
    except FileExistsError:
        log.info("another process made the pseudonym key in %s", path)
        return False
    except OSError as error:
        raise InvalidSettings(f"{path}: cannot make the pseudonym key: {error.strerror}") from None
    return True
