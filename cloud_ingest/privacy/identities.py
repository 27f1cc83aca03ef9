"""Replaced pseudonyms, and those of erased patients.

Read them in the transaction that writes: erasure and key rotation wait for transactions that have read them.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from psycopg2.extensions import cursor

from vitals.errors import KidjamoError

PSEUDONYM = re.compile(rb"p[0-9]+_[0-9a-f]{32}")
"""A pseudonym inside arbitrary bytes."""

_FIND = """
SELECT old_pseudonym, new_pseudonym FROM pseudonym_links WHERE old_pseudonym = ANY(%(pseudonyms)s)
UNION ALL
SELECT pseudonym, NULL FROM erasure_requests, unnest(pseudonyms) pseudonym
WHERE pseudonyms && %(pseudonyms)s AND lifted_at IS NULL
"""


@dataclass(frozen=True, slots=True)
class Identities:
    """Pseudonyms that are no longer in use.

    Attributes:
        current: the newest pseudonym, by older ones.
        erased: those of patients whose erasure has been requested.
    """

    current: Mapping[str, str] = field(default_factory=dict)
    erased: frozenset[str] = frozenset()

    def of(self, pseudonym: str) -> str | None:
        """Return the current pseudonym of the same patient; None for an erased patient."""
        return None if pseudonym in self.erased else self.current.get(pseudonym, pseudonym)

    def known(self) -> frozenset[str]:
        """Return all replaced and erased pseudonyms."""
        return self.erased.union(self.current)


class IdentitiesChanged(KidjamoError):
    """Pseudonyms were replaced or erased since they were last read.

    Attributes:
        identities: what the database holds now.
    """

    def __init__(self, identities: Identities) -> None:
        super().__init__("pseudonyms were replaced or erased")
        self.identities = identities


def find(cur: cursor, pseudonyms: Collection[str]) -> Identities:
    """Return which of these pseudonyms were replaced or erased."""
    cur.execute(_FIND, {"pseudonyms": list(pseudonyms)})
    found = cur.fetchall()
    return Identities(
        {pseudonym: current for pseudonym, current in found if current is not None},
        frozenset(pseudonym for pseudonym, current in found if current is None),
    )
