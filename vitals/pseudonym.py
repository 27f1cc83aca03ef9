"""Pseudonyms of patient identifiers: `p1_` + 32 hex digits of HMAC-SHA-256(key, patient_id).

The digit after `p` is the version of the key. A salted hash alone could be reversed by trying every patient
number; without the secret key that is impossible.
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
"""Minimum length of a key: 256 bits."""


def _spelled(word: str) -> bytes:
    """Return a pattern for a word in which any letter may be a JSON escape."""
    either = (rf"(?:{c}|\\u00(?:{ord(c):02x}|{ord(c.upper()):02x}))" for c in word)
    return "".join(either).encode()


_KEY = rb"%b (?: (?:[_\s-]|\\u00(?:5f|2d))? %b)?" % (_spelled("patient"), _spelled("id"))
_PATIENT = re.compile(
    rb"""
    ( %b (?:\\*["'])?                                    # the key, with any quotes
      (?: (?:\s|\xc2\xa0)* [:=>] (?:\s|\xc2\xa0)*
        | [^\S\n]* \n \s* ))                              # in a form the value is on its own line
    (?!null\b)
    (
        "(?:[^"\\]++|\\.)*+(?:"|\\?\Z)                     # a string, possibly truncated
      | '(?:[^'\\]++|\\.)*+(?:'|\\?\Z)
      | \\+["'] (?:[^\\]++|\\++(?!["']))*+ (?:\\+["']|\Z)   # an escaped string within a string
      | [\[{].*                                          # not an identifier: replace all that follows
      | [^\s,;&}\]<]++ (?: [ \t]++ [^\s,;&}\]<=:]++ (?![=:]) )*+
    )
    """
    % _KEY,
    re.VERBOSE | re.IGNORECASE | re.DOTALL,
)
_MENTION = re.compile(_KEY, re.VERBOSE | re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Pseudonymiser:
    """Derives pseudonyms with the newest of its keys.

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
        """Return the pseudonym of a patient under the newest key."""
        return self._under(max(self.keys), patient_id)

    def every_pseudonym(self, patient_id: str) -> tuple[str, ...]:
        """Return the pseudonyms of a patient under every key, the newest first."""
        return tuple(self._under(version, patient_id) for version in sorted(self.keys, reverse=True))

    def _under(self, version: int, patient_id: str) -> str:
        message = patient_id.encode(errors="surrogatepass")
        digest = hmac.new(self.keys[version], message, hashlib.sha256).hexdigest()
        return f"p{version}_{digest[:32]}"

    def scrub(self, data: bytes) -> bytes:
        """Replace the value after each `patient_id` in rejected bytes by its pseudonym.

        The bytes need not be valid JSON: they may be truncated, use other quotes or none, be a form, or hold
        JSON inside a string. If a patient is named in any other way, everything after the name is replaced.
        """
        scrubbed, replaced = _PATIENT.subn(
            lambda value: b'%b"%b"' % (value[1], self.pseudonym(_text(value[2])).encode()), data
        )
        mention = None if replaced else _MENTION.search(data)
        if mention is None or _is_json(data):
            return scrubbed
        return b'%b "%b"' % (data[: mention.end()], self.pseudonym(_text(data[mention.end() :])).encode())


class ClearIdentifiers:
    """Returns identifiers unchanged, for a demonstration on loopback with made-up patients."""

    def pseudonym(self, patient_id: str) -> str:
        """Return the identifier unchanged."""
        return patient_id

    def every_pseudonym(self, patient_id: str) -> tuple[str, ...]:
        """Return the identifier unchanged."""
        return (patient_id,)

    def scrub(self, data: bytes) -> bytes:
        """Return the bytes unchanged."""
        return data


def new_key() -> str:
    """Return the text of a key file with one new random key."""
    return f"1:{secrets.token_hex(KEY_BYTES)}\n"


def parse_keys(text: str) -> Pseudonymiser:
    """Parse a key file: one `version:hexadecimal key` per line, `#` starts a comment.

    Raises:
        InvalidPseudonymKey: with the line number and the reason, never the content.
    """
    keys: dict[int, bytes] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if not (content := line.partition("#")[0].strip()):
            continue
        version, _, key = content.partition(":")
        try:
            parsed = {int(version): bytes.fromhex(key)}
        except ValueError:
            raise InvalidPseudonymKey(
                f"key file, line {number}: expected <version>:<hexadecimal key>"
            ) from None
        if parsed.keys() & keys.keys():
            raise InvalidPseudonymKey(f"key file, line {number}: a second key of the same version")
        keys |= parsed
    return Pseudonymiser(keys)


def _is_json(data: bytes) -> bool:
    try:
        json.loads(data)
    except (ValueError, RecursionError):
        return False
    return True


def _text(token: bytes) -> str:
    """Return the identifier in a match of `_PATIENT`, decoded so that it gets its usual pseudonym."""
    if token.startswith(b'"'):
        try:
            return str(json.loads(token))
        except ValueError:
            pass
    return token.decode(errors="replace").strip("\\\"'")
