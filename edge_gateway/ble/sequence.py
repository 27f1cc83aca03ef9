"""Which of a bracelet's numbered records were received, are durable, or must be fetched. No I/O."""

from __future__ import annotations

from dataclasses import dataclass, field
from uuid import UUID

from edge_gateway.outbox.device_queries import Progress
from vitals.gatt.bracelet import BraceletStatus

ATTEMPTS = 2
"""A record that is missing from this many complete reports is lost for good."""


@dataclass(slots=True)
class Sequence:
    """The records of one connection, by their sequence number in the bracelet's flash.

    `progress` moves only over records that are durable or that the bracelet no longer has. If records were
    committed before, the last of them is fetched again: only if it is the same record does the bracelet still
    count the same sequence (its restart counter is one byte and wraps around).

    Attributes:
        boot: the bracelet's restart counter.
        oldest: the first record in flash when the connection began.
        missing: number of records lost for good.
    """

    boot: int
    oldest: int
    missing: int = 0
    _newest: int = -1  # highest number known to exist
    _next: int = 0  # all below were received or are lost
    _safe: int = 0  # all below are durable or lost
    _ahead: set[int] = field(default_factory=set)  # received, above _next
    _durable: dict[int, UUID] = field(default_factory=dict)  # at or above _safe
    _lost: dict[int, int] = field(default_factory=dict)  # first lost -> first that is not lost
    _last: UUID | None = None  # the newest durable record below _safe
    _unverified: Progress | None = None
    _attempts: int = 0

    @classmethod
    def begin(cls, status: BraceletStatus, progress: Progress | None) -> Sequence:
        """Return the sequence of a bracelet that was just connected.

        Args:
            status: the bracelet's status, with the range of records in its flash.
            progress: how far its records were committed before; None if unknown.
        """
        sequence = cls(status.boot, status.oldest_seq)
        first = status.oldest_seq
        known = progress is not None and progress.boot == status.boot
        if first <= status.newest_seq:
            sequence._newest = status.newest_seq
        elif status.newest_seq == 0 and not known:
            first = 0  # a bracelet that has measured nothing yet also reports "1 to 0"
        if progress and known:
            if first <= progress.seq <= status.newest_seq:
                sequence._unverified, first = progress, progress.seq
            elif progress.seq < first:
                sequence.missing = first - progress.seq - 1  # overwritten in the ring buffer
        sequence._next = sequence._safe = first
        return sequence

    @property
    def must_fetch(self) -> bool:
        """Whether a record that is known to exist was not received."""
        return self._next <= self._newest

    @property
    def fetch_from(self) -> int:
        """The first sequence number to fetch."""
        return self._next

    @property
    def progress(self) -> Progress | None:
        """How far all records are durable or lost; None if none is, or if the sequence is not verified."""
        if self._last is None or self._unverified:
            return None
        return Progress(self.boot, self._safe - 1, self._last)

    def receive(self, seq: int, identity: UUID) -> None:
        """Note a received record, live or from flash, new or repeated."""
        if self._unverified and seq == self._unverified.seq:
            same = identity == self._unverified.message_id
            self._unverified = None
            if not same:
                self._start_over()
        self._newest = max(self._newest, seq)
        if seq >= self._next:
            self._ahead.add(seq)
            self._advance_next()

    def exists(self, status: BraceletStatus) -> None:
        """Note the newest record of a status: its notification may have been lost."""
        if status.boot == self.boot and status.oldest_seq <= status.newest_seq:
            self._newest = max(self._newest, status.newest_seq)

    def commit(self, seq: int, identity: UUID) -> None:
        """Note that a record is durable, or need not be."""
        if seq >= self._safe:
            self._durable[seq] = identity
            self._advance_safe()

    def report_complete(self) -> None:
        """Note that the bracelet has reported all records from `fetch_from` on."""
        if self._unverified:
            self._unverified = None
            self._start_over()
        elif self.must_fetch:
            self._attempts += 1
            if self._attempts >= ATTEMPTS:
                self._give_up()

    def _start_over(self) -> None:
        """Fetch everything: the bracelet restarted its numbering under the same restart counter."""
        self._next = self._safe = self.oldest
        self._attempts = 0

    def _give_up(self) -> None:
        """Count the records before the next received one as lost."""
        end = min(self._ahead, default=self._newest + 1)
        self.missing += end - self._next
        self._lost[self._next] = end
        self._next = end
        self._advance_next()
        self._advance_safe()

    def _advance_next(self) -> None:
        while self._next in self._ahead:
            self._ahead.remove(self._next)
            self._next += 1
            self._attempts = 0

    def _advance_safe(self) -> None:
        while True:
            if self._safe in self._durable:
                self._last = self._durable.pop(self._safe)
                self._safe += 1
            elif self._safe in self._lost:
                self._safe = self._lost.pop(self._safe)
            else:
                return
