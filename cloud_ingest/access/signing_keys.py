"""The keys that sign access tokens: one file per key; the newest signs, older ones verify until they expire.

Every API process that shares the directory uses a new key, and stops using a removed one, at once.
"""

from __future__ import annotations

import logging
import os
import re
import secrets
import stat
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import zip_longest
from pathlib import Path
from typing import Self

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from cloud_ingest.errors import InvalidSettings
from cloud_ingest.secret_file import create_secret, make_directory, read_secret, reason_of
from cloud_ingest.settings import Settings

log = logging.getLogger(__name__)

VARIABLE = "API_KEYS_DIR"
LEEWAY_S = 10
"""Allowed difference between the clocks of the API processes."""
_STAMP = "%Y%m%dT%H%M%S.%fZ"
_FILE = re.compile(r"(\d{8}T\d{6}\.\d{6}Z-[0-9a-f]{8})\.pem")


@dataclass(frozen=True, slots=True)
class SigningKey:
    """An ECDSA key on P-256.

    Attributes:
        kid: its name, which begins with the time it was made.
        verifies_until: when the last token it signed has expired; None for the newest.
    """

    kid: str
    private: ec.EllipticCurvePrivateKey
    made: datetime
    verifies_until: datetime | None


class SigningKeys:
    """The keys of a directory.

    Args:
        overlap: how long a key verifies after the next one was made: the lifetime of a token.
    """

    def __init__(
        self, directory: Path, overlap: timedelta, clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self._directory, self._overlap, self._clock = directory, overlap, clock
        self._keys: dict[str, SigningKey] = {}
        self._failing: dict[str, str] | None = None

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Return the keys in the configured directory."""
        return cls(settings.keys_dir, timedelta(seconds=settings.token_lifetime_s + LEEWAY_S))

    def all(self) -> tuple[SigningKey, ...]:
        """Return every key, oldest first.

        Raises:
            InvalidSettings: on the first call, a key that cannot be used. Later calls log the error, return
                the other keys, and try it again.
        """
        names = self._key_names()
        if names != tuple(self._keys):
            self._load(names)
        return tuple(self._keys.values())

    def signing(self) -> SigningKey:
        """Return the newest key; make the first one where there is none."""
        return (self.all() or (self.make(),))[-1]

    def verifying(self, kid: str) -> ec.EllipticCurvePublicKey | None:
        """Return the public key of this name; None where it was removed or has expired."""
        self.all()
        key = self._keys.get(kid)
        if key is None or (key.verifies_until and key.verifies_until < self._clock()):
            return None
        return key.private.public_key()

    def make(self) -> SigningKey:
        """Make a key, which signs from now on.

        Raises:
            InvalidSettings: the directory cannot be written, or other users can write to it.
        """
        self.all()
        kid = f"{self._clock():{_STAMP}}-{secrets.token_hex(4)}"
        private = ec.generate_private_key(ec.SECP256R1())
        text = private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        try:
            make_directory(self._directory, 0o700)
            if stat.S_IMODE(self._directory.stat().st_mode) & 0o022:
                raise InvalidSettings(
                    f"{VARIABLE} {self._directory}: other users can write to it;"
                    f" chmod 700 {self._directory}, or name a directory for keys only"
                )
            create_secret(self._directory / f"{kid}.pem", text.decode())
        except OSError as error:
            raise self._unusable(error) from None
        log.info("made the signing key %s", kid)
        return self.all()[-1]

    def remove_expired(self) -> tuple[str, ...]:
        """Remove the expired keys; return their names."""
        now = self._clock()
        expired = [key.kid for key in self.all() if key.verifies_until and key.verifies_until < now]
        for kid in expired:
            (self._directory / f"{kid}.pem").unlink(missing_ok=True)
        return tuple(expired)

    def _key_names(self) -> tuple[str, ...]:
        try:
            files = os.listdir(self._directory)
        except FileNotFoundError:
            return ()
        except OSError as error:
            raise self._unusable(error) from None
        return tuple(sorted(match[1] for file in files if (match := _FILE.fullmatch(file))))

    def _unusable(self, error: OSError) -> InvalidSettings:
        return InvalidSettings(f"{VARIABLE} {self._directory}: {reason_of(error, self._directory)}")

    def _load(self, names: tuple[str, ...]) -> None:
        keys, failing = [], {}
        for name in names:
            try:
                keys.append(self._keys.get(name) or self._read(name))
            except InvalidSettings as error:
                failing[name] = str(error)
        if failing and self._failing is None:
            raise InvalidSettings(next(iter(failing.values())))
        for name in failing.keys() - (self._failing or {}).keys():
            log.error("%s; the other keys are used", failing[name])
        self._failing = failing
        expiries = (successor.made + self._overlap for successor in keys[1:])
        self._keys = {
            key.kid: replace(key, verifies_until=until) for key, until in zip_longest(keys, expiries)
        }

    def _read(self, name: str) -> SigningKey:
        path = self._directory / f"{name}.pem"
        try:
            made = datetime.strptime(name.partition("-")[0], _STAMP).replace(tzinfo=UTC)
        except ValueError:
            raise InvalidSettings(f"{VARIABLE} {path}: its name does not contain a time") from None
        text = read_secret(path, VARIABLE)
        try:
            key = serialization.load_pem_private_key(text.encode(), None)
        except (ValueError, TypeError):
            key = None
        if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
            raise InvalidSettings(f"{VARIABLE} {path}: not a P-256 key; kidjamo-ingest keys rotate makes one")
        return SigningKey(name, key, made, None)
