"""Bearer tokens: who may send readings."""

from __future__ import annotations

import hashlib
import hmac
import re
from dataclasses import dataclass, field
from pathlib import Path

from cloud_ingest.errors import InvalidSettings

_HASHED = re.compile(r"sha256:([0-9a-fA-F]{64})")


@dataclass(frozen=True, slots=True)
class Tokens:
    """The tokens that open the API, kept as SHA-256 digests; none at all means the door stands open.

    Attributes:
        digests: SHA-256 of each token.
    """

    digests: tuple[bytes, ...] = field(repr=False)

    @classmethod
    def load(cls, path: Path | None) -> Tokens:
        """Read a token file; without one authentication is off (the settings allow that on loopback only).

        Raises:
            InvalidSettings: the file cannot be read or holds no token.
        """
        if path is None:
            return cls(())
        try:
            lines = (line.partition("#")[0].strip() for line in path.read_text().splitlines())
        except (OSError, UnicodeDecodeError) as error:
            raise InvalidSettings(f"API_TOKEN_FILE {path}: {error}") from None
        digests = tuple(_digest(line) for line in lines if line)
        if not digests:
            raise InvalidSettings(f"API_TOKEN_FILE {path}: holds no token")
        return cls(digests)

    def allow(self, authorization: str | None) -> bool:
        """Whether an Authorization header opens the API; takes the same time whichever token is wrong."""
        if not self.digests:
            return True
        scheme, _, token = (authorization or "").partition(" ")
        given = hashlib.sha256(token.strip().encode()).digest()
        matches = [hmac.compare_digest(given, digest) for digest in self.digests]
        return scheme.lower() == "bearer" and any(matches)


def _digest(line: str) -> bytes:
    if hashed := _HASHED.fullmatch(line):
        return bytes.fromhex(hashed[1])
    return hashlib.sha256(line.encode()).digest()
