"""Accounting of the records the API accepted: each is in Kafka, in the spool, or reported as missing.

All numbers are records: a reading is one record, and one more per alert and per change of its device's state.
Accepted records are counted where senders get their responses, delivered ones where Kafka's acknowledgements
arrive, and stored ones on disk, so that a record lost in between shows as a difference.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from cloud_ingest.delivery.spool import SpoolState


@dataclass
class DeliveryAccounting:
    """Counters since the start of the process.

    Attributes:
        opening: records that should have been in the spool at the start.
        opening_refused: records that Kafka had rejected before the start.
        accepted: records confirmed to their senders as durable.
        abandoned: records in Kafka or in the spool although their sender got a 503 and will retry.
        resent: records in Kafka that could not be deleted from the spool; a restart sends them again.
        spooled: accepted records written to the spool.
        replayed: records sent from the spool to Kafka, and those in the spool acknowledged late.
        in_flight: records handed to the producer whose result is not counted yet.
    """

    opening: int = 0
    opening_refused: int = 0
    accepted: int = 0
    abandoned: int = 0
    resent: int = 0
    spooled: int = 0
    replayed: int = 0
    in_flight: int = 0

    def balance(self, acknowledged: int, spool: SpoolState) -> DeliveryBalance:
        """Return the current balance.

        Args:
            acknowledged: records acknowledged by Kafka, counted by the producer.
        """
        refused = spool.refused - self.opening_refused
        expected = self.opening + self.accepted + self.abandoned + self.resent
        missing = expected - (acknowledged + spool.pending + refused)
        # A record in flight may be acknowledged and not counted yet: that is no surplus.
        difference = missing if missing > 0 else min(0, missing + self.in_flight)
        return DeliveryBalance(self, acknowledged, spool.pending, refused, spool.set_aside, difference)


@dataclass(frozen=True, slots=True)
class DeliveryBalance:
    """The two sides: opening + accepted + abandoned + resent = produced + pending + refused.

    Attributes:
        set_aside: corrupt spool files whose records are not accounted for.
        difference: above 0 records are missing, below 0 there are more than accepted.
    """

    accounting: DeliveryAccounting
    produced: int
    pending: int
    refused: int
    set_aside: int
    difference: int

    def document(self) -> dict[str, Any]:
        """Return the fields of `GET /reconciliation`."""
        accounting = self.accounting
        return {
            "opening": accounting.opening,
            "accepted": accounting.accepted,
            "abandoned": accounting.abandoned,
            "resent": accounting.resent,
            "produced": self.produced,
            "spooled": accounting.spooled,
            "replayed": accounting.replayed,
            "pending": self.pending,
            "refused": self.refused,
            "in_flight": accounting.in_flight,
            "spools_set_aside": self.set_aside,
            "difference": self.difference,
        }
