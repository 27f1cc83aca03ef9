"""Do the books of the API add up: is everything it promised in Kafka or still in its hands?

All numbers are records: a reading makes one for itself, one per alert, one where its device's state changed.
What went in is counted where senders are answered, what came out where Kafka's acknowledgements arrive, what
is held where it lies on disk; so a record lost between them shows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from cloud_ingest.delivery.spool import SpoolState


@dataclass
class Ledger:
    """What the API took in and passed on since the start.

    Attributes:
        opening: records the spool had to hold at the start.
        opening_refused: records Kafka had refused before.
        accepted: records whose senders were told they are safe.
        abandoned: records Kafka or the spool took although their sender was told 503 and will send again.
        resent: records that Kafka has and the spool cannot forget yet; a restart sends them once more.
        spooled: accepted records that went to the spool.
        replayed: records brought from the spool to Kafka, those acknowledged late included.
        in_flight: records handed to the producer whose fate has not been entered yet.
    """

    opening: int = 0
    opening_refused: int = 0
    accepted: int = 0
    abandoned: int = 0
    resent: int = 0
    spooled: int = 0
    replayed: int = 0
    in_flight: int = 0

    def reconcile(self, acknowledged: int, spool: SpoolState) -> Reconciliation:
        """The balance of this moment.

        Args:
            acknowledged: records Kafka has acknowledged, as the producer counts them.
        """
        refused = spool.refused - self.opening_refused
        owed = self.opening + self.accepted + self.abandoned + self.resent
        missing = owed - (acknowledged + spool.pending + refused)
        # a record in flight may have arrived already without being entered: that is no surplus
        difference = missing if missing > 0 else min(0, missing + self.in_flight)
        return Reconciliation(self, acknowledged, spool.pending, refused, spool.set_aside, difference)


@dataclass(frozen=True, slots=True)
class Reconciliation:
    """opening + accepted + abandoned + resent = produced + pending + refused.

    Attributes:
        set_aside: corrupt spool files whose content nobody has accounted for.
        difference: above 0 records are missing, below 0 there are more than were promised.
    """

    ledger: Ledger
    produced: int
    pending: int
    refused: int
    set_aside: int
    difference: int

    def document(self) -> dict[str, Any]:
        """As `GET /reconciliation` shows it."""
        ledger = self.ledger
        return {
            "opening": ledger.opening,
            "accepted": ledger.accepted,
            "abandoned": ledger.abandoned,
            "resent": ledger.resent,
            "produced": self.produced,
            "spooled": ledger.spooled,
            "replayed": ledger.replayed,
            "pending": self.pending,
            "refused": self.refused,
            "in_flight": ledger.in_flight,
            "spools_set_aside": self.set_aside,
            "difference": self.difference,
        }
