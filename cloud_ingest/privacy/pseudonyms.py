"""The pseudonym key file, and the pseudonyms computed with it."""

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
_MISSING = "; `kidjamo-ingest pseudonym-key make` creates one; every machine needs a copy of it"


class Pseudonyms(Protocol):
    """Turns patient identifiers into pseudonyms, or returns them unchanged."""

    def pseudonym(self, patient_id: str) -> str:
        """Return the pseudonym of a patient."""

    def every_pseudonym(self, patient_id: str) -> tuple[str, ...]:
        """Return the pseudonyms of a patient under each key version, the newest first."""

    def scrub(self, data: bytes) -> bytes:
        """Return bytes with every patient identifier in them replaced."""


CACHED = 20_000
"""Number of patients whose pseudonyms are cached."""


class CachedPseudonyms:
    """Caches pseudonyms, so that they are not computed for each reading."""

    def __init__(self, source: Pseudonyms) -> None:
        self.pseudonym = lru_cache(CACHED)(source.pseudonym)
        self.scrub, self.every_pseudonym = source.scrub, source.every_pseudonym


def pseudonyms(settings: Settings, *, first_start: bool = False) -> Pseudonyms:
    """Return the pseudonyms that the settings ask for.

    Args:
        first_start: whether to create a key if none is configured and the default file is missing. Only the
            API does so: a command run elsewhere would compute other pseudonyms.

    Raises:
        InvalidSettings: the key file is missing, readable by others, or does not contain a valid key.
    """
    if settings.pseudonymisation == "off":
        log.warning("PSEUDONYMISATION=off: patient identifiers are not replaced; for made-up patients only")
        return ClearIdentifiers()
    if first_start and settings.pseudonym_key_file is None and not settings.key_file.exists():
        make_key(settings.key_file)
    return CachedPseudonyms(load_key(settings.key_file))


def load_key(path: Path) -> Pseudonymiser:
    """Read a key file.

    Raises:
        InvalidSettings: it is missing, readable by others, or does not contain a valid key.
    """
    try:
        return parse_keys(read_secret(path, VARIABLE, _MISSING))
    except InvalidPseudonymKey as error:
        raise InvalidSettings(f"{VARIABLE} {path}: {error}") from None


def make_key(path: Path) -> bool:
    """Write a new key with mode 0600, atomically; return False and change nothing if the file exists.

    Raises:
        InvalidSettings: the directory cannot be written.
    """
    try:
        create_secret(path, new_key())  # synced to disk: pseudonyms computed with it are stored too
        log.warning(
            "created a pseudonym key in %s: keep a copy, without it no pseudonym can be computed again", path
        )
    except FileExistsError:
        log.info("the pseudonym key in %s exists already", path)
        return False
    except OSError as error:
        raise InvalidSettings(f"{path}: cannot create the pseudonym key: {error.strerror}") from None
    return True
