"""Patient identifiers become pseudonyms: `p1_` + 32 hex digits of HMAC-SHA-256(key, patient_id).

The digit is the key's version. A salted hash alone could be reversed by trying every patient number; the key
makes that impossible for whoever does not hold it.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field

from vitals.errors import InvalidPseudonymKey

KEY_BYTES = 32
"""Shortest key accepted: 256 bits."""


def _spelled(word: str) -> bytes:
    """A pattern for a word of which JSON may have escaped any letter."""
    either = (rf"(?:{c}|\\u00(?:{ord(c):02x}|{ord(c.upper()):02x}))" for c in word)
    return "".join(either).encode()


_KEY = rb"%b (?: (?:[_\s-]|\\u00(?:5f|2d))? %b)?" % (_spelled("patient"), _spelled("id"))
_PATIENT = re.compile(
    rb"""
    ( %b (?:\\*["'])?                                    # the key, whatever quotes it
      (?: (?:\s|\xc2\xa0)* [:=>] (?:\s|\xc2\xa0)*
        | [^\S\n]* \n \s* ))                              # the value of a form stands on a line of its own
    (?!null\b)
    (
        "(?:[^"\\]++|\\.)*+(?:"|\\?\Z)                     # a string, perhaps cut short
      | '(?:[^'\\]++|\\.)*+(?:'|\\?\Z)
      | \\+["'] (?:[^\\]++|\\++(?!["']))*+ (?:\\+["']|\Z)   # a string inside a string
      | [\[{].*                                          # no identifier at all: nothing after it is trusted
      | [^\s,;&}\]<]++ (?: [ \t]++ [^\s,;&}\]<=:]++ (?![=:]) )*+
    )
    """
    % _KEY,
    re.VERBOSE | re.IGNORECASE | re.DOTALL,
)
_MENTION = re.compile(_KEY, re.VERBOSE | re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Pseudonymiser:
    """Turns patient identifiers into pseudonyms with the newest of its keys.

    Attributes:
        keys: secret keys by version, at least one.
    """

    keys: Mapping[int, bytes] = field(repr=False)

    def __post_init__(self) -> None:
        if not self.keys:
            raise InvalidPseudonymKey("no pseudonym key given")
        for version, key in self.keys.items():
            if version < 1:
                raise InvalidPseudonymKey(f"key version {version}: versions count from 1")
            if len(key) < KEY_BYTES:
                raise InvalidPseudonymKey(f"key {version} has {8 * len(key)} bits, 256 are needed")
            if len(set(key)) < 8:
                raise InvalidPseudonymKey(f"key {version} is not random")

    def pseudonym(self, patient_id: str) -> str:
        """The pseudonym of one patient under the newest key."""
        return self._under(max(self.keys), patient_id)

    def every_pseudonym(self, patient_id: str) -> tuple[str, ...]:
        """The pseudonyms of one patient under each key, the newest first."""
        return tuple(self._under(version, patient_id) for version in sorted(self.keys, reverse=True))

    def _under(self, version: int, patient_id: str) -> str:
        message = patient_id.encode(errors="surrogatepass")
        digest = hmac.new(self.keys[version], message, hashlib.sha256).hexdigest()
        return f"p{version}_{digest[:32]}"

    def scrub(self, data: bytes) -> bytes:
        """Bytes that were refused, what follows each `patient_id` in them replaced by its pseudonym.

        The bytes need not be JSON: cut short, quoted otherwise, unquoted, a form or JSON inside a string will
        do. Where they name a patient in a way that is none of these, all that follows is taken for the
        identifier.
        """
        scrubbed, found = _PATIENT.subn(
            lambda value: b'%b"%b"' % (value[1], self.pseudonym(_text(value[2])).encode()), data
        )
        mention = None if found else _MENTION.search(data)
        if mention is None or _is_json(data):
            return scrubbed
        return b'%b "%b"' % (data[: mention.end()], self.pseudonym(_text(data[mention.end() :])).encode())


class ClearIdentifiers:
    """Passes identifiers through, for a demonstration on loopback with made-up patients."""

    def pseudonym(self, patient_id: str) -> str:
        """The identifier itself."""
        return patient_id

    def every_pseudonym(self, patient_id: str) -> tuple[str, ...]:
        """The identifier itself."""
        return (patient_id,)

    def scrub(self, data: bytes) -> bytes:
        """The bytes themselves."""
        return data


def new_key() -> str:
    """Text of a key file that holds one fresh key."""
    return f"1:{secrets.token_hex(KEY_BYTES)}\n"


def parse_keys(text: str) -> Pseudonymiser:
    """Read the text of a key file: one `version:hexadecimal key` a line, `#` starts a comment.

    Raises:
        InvalidPseudonymKey: says which line and why, never what it held.
    """
    keys: dict[int, bytes] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if not (content := line.partition("#")[0].strip()):
            continue
        version, _, key = content.partition(":")
        try:
            fresh = {int(version): bytes.fromhex(key)}
        except ValueError:
            raise InvalidPseudonymKey(
                f"key file, line {number}: expected <version>:<hexadecimal key>"
            ) from None
        if fresh.keys() & keys.keys():
            raise InvalidPseudonymKey(f"key file, line {number}: a second key of the same version")
        keys |= fresh
    return Pseudonymiser(keys)


def _is_json(data: bytes) -> bool:
    try:
        json.loads(data)
    except (ValueError, RecursionError):
        return False
    return True


def _text(token: bytes) -> str:
    """What a token of `_PATIENT` says, so that a legible identifier gets the pseudonym it has everywhere."""
    if token.startswith(b'"'):
        try:
            return str(json.loads(token))
        except ValueError:
            pass
    return token.decode(errors="replace").strip("\\\"'")
