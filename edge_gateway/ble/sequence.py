"""Which numbered records of a bracelet are here, which are durable, which must be fetched. Pure logic."""

from __future__ import annotations

from dataclasses import dataclass, field
from uuid import UUID

from edge_gateway.outbox.device_queries import Progress
from vitals.gatt.bracelet import BraceletStatus

ATTEMPTS = 2
"""A record that this many complete reports did not bring is lost for good."""


@dataclass(slots=True)
class Sequence:
    """Records of one connection, by the numbers under which the bracelet's flash holds them.

    The point up to which all is durable moves only over records that are, or that the bracelet no longer has.
    Where records were committed before, the last of them is asked for once more: only if it is still the same
    one does the bracelet count as it did (its restart counter is one byte, and wraps).

    Attributes:
        boot: the bracelet's restart counter.
        oldest: the first record in its flash when this began.
        missing: how many records are lost for good.
    """

    boot: int
    oldest: int
    missing: int = 0
    _newest: int = -1  # known to exist
    _next: int = 0  # all below are here, or lost
    _safe: int = 0  # all below are durable, or lost
    _ahead: set[int] = field(default_factory=set)  # here, above _next
    _durable: dict[int, UUID] = field(default_factory=dict)  # at or above _safe
    _lost: dict[int, int] = field(default_factory=dict)  # first lost -> first that is not
    _last: UUID | None = None  # the newest durable record below _safe
    _unproven: Progress | None = None
    _attempts: int = 0

    @classmethod
    def begin(cls, status: BraceletStatus, progress: Progress | None) -> Sequence:
        """Where to go on from with a bracelet that was just connected.

        Args:
            status: what the bracelet says it holds.
            progress: how far its records were committed before; None where nothing is known.
        """
        sequence = cls(status.boot, status.oldest_seq)
        first = status.oldest_seq
        known = progress is not None and progress.boot == status.boot
        if first <= status.newest_seq:
            sequence._newest = status.newest_seq
        elif status.newest_seq == 0 and not known:
            first = 0  # "1 to 0" is also what a bracelet says that has measured nothing yet
        if progress and known:
            if first <= progress.seq <= status.newest_seq:
                sequence._unproven, first = progress, progress.seq
            elif progress.seq < first:
                sequence.missing = first - progress.seq - 1  # the ring has run over them
        sequence._next = sequence._safe = first
        return sequence

    @property
    def must_fetch(self) -> bool:
        """Whether a record that is known to exist is not here."""
        return self._next <= self._newest

    @property
    def fetch_from(self) -> int:
        """The first sequence number to ask for."""
        return self._next

    @property
    def progress(self) -> Progress | None:
        """Up to where all is durable or lost; None while nothing is, or the count is not proven."""
        if self._last is None or self._unproven:
            return None
        return Progress(self.boot, self._safe - 1, self._last)

    def receive(self, seq: int, identity: UUID) -> None:
        """Note a record that came in, live or from flash, for the first time or again."""
        if self._unproven and seq == self._unproven.seq:
            same = identity == self._unproven.message_id
            self._unproven = None
            if not same:
                self._start_over()
        self._newest = max(self._newest, seq)
        if seq >= self._next:
            self._ahead.add(seq)
            self._close_up()

    def exists(self, status: BraceletStatus) -> None:
        """Note what the bracelet says it holds, for a record whose notification was lost."""
        if status.boot == self.boot and status.oldest_seq <= status.newest_seq:
            self._newest = max(self._newest, status.newest_seq)

    def commit(self, seq: int, identity: UUID) -> None:
        """Note that a record is durable, or needs not be."""
        if seq >= self._safe:
            self._durable[seq] = identity
            self._move_safe()

    def report_complete(self) -> None:
        """The bracelet has reported all it holds from `fetch_from` on."""
        if self._unproven:
            self._unproven = None
            self._start_over()
        elif self.must_fetch:
            self._attempts += 1
            if self._attempts >= ATTEMPTS:
                self._give_up()

    def _start_over(self) -> None:
        """The bracelet counts anew under the same restart counter: all it holds must be fetched."""
        self._next = self._safe = self.oldest
        self._attempts = 0

    def _give_up(self) -> None:
        """What comes before the next record that is here does not exist any more."""
        end = min(self._ahead, default=self._newest + 1)
        self.missing += end - self._next
        self._lost[self._next] = end
        self._next = end
        self._close_up()
        self._move_safe()

    def _close_up(self) -> None:
        while self._next in self._ahead:
            self._ahead.remove(self._next)
            self._next += 1
            self._attempts = 0

    def _move_safe(self) -> None:
        while True:
            if self._safe in self._durable:
                self._last = self._durable.pop(self._safe)
                self._safe += 1
            elif self._safe in self._lost:
                self._safe = self._lost.pop(self._safe)
            else:
                return
