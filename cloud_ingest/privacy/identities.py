"""What became of pseudonyms: a newer one has taken their place, or their child was erased.

Read in the transaction that writes: erasure and rotation wait for whoever looked before they stood.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from psycopg2.extensions import cursor

from vitals.errors import KidjamoError

PSEUDONYM = re.compile(rb"p[0-9]+_[0-9a-f]{32}")
"""As it stands in bytes that may be anything else."""

_FIND = """
SELECT old_pseudonym, new_pseudonym FROM pseudonym_links WHERE old_pseudonym = ANY(%(pseudonyms)s)
UNION ALL
SELECT pseudonym, NULL FROM erasure_requests, unnest(pseudonyms) pseudonym
WHERE pseudonyms && %(pseudonyms)s AND lifted_at IS NULL
"""


@dataclass(frozen=True, slots=True)
class Identities:
    """Pseudonyms that no longer stand for a child.

    Attributes:
        current: the newest pseudonym, by older ones.
        erased: those whose child was erased, or is to be.
    """

    current: Mapping[str, str] = field(default_factory=dict)
    erased: frozenset[str] = frozenset()

    def of(self, pseudonym: str) -> str | None:
        """The pseudonym this child has now; None where it was erased."""
        return None if pseudonym in self.erased else self.current.get(pseudonym, pseudonym)

    def known(self) -> frozenset[str]:
        """All that are named here."""
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
    """What became of these pseudonyms; of those that still stand it says nothing."""
    cur.execute(_FIND, {"pseudonyms": list(pseudonyms)})
    found = cur.fetchall()
    return Identities(
        {pseudonym: current for pseudonym, current in found if current is not None},
        frozenset(pseudonym for pseudonym, current in found if current is None),
    )
