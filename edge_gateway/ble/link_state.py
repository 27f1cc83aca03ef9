"""State machine of one bracelet's link. No I/O: time and random numbers are arguments.

    SEARCHING ──seen──▶ CONNECTING ──▶ FETCHING ──▶ LIVE
     ▲   ▲ └─no slot─▶ WAITING ─slot─▶  │             │
     │   └──────────────────────────────┼─lost after──┘
     │                                  │ a stable time: at once
     └───── waited ◀── BACKING_OFF ◀────┴─failed, or lost early

A bracelet is connected only after an advertisement newer than its last link: what an adapter knows of a
device is outdated within seconds of a disconnection.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum

from edge_gateway.ble.link_failure import SLOTS_TAKEN, LinkFailure
from vitals.backoff import Backoff

FIRST_WAIT_S = 0.5
LONGEST_WAIT_S = 30.0
LONGEST_WAIT_AFTER_LIVE_S = 2.0
"""A bracelet at the edge of its range loses its link again and again, and delivers values in between."""
STABLE_S = 5.0
"""The loss of a link that was live this long is not a failure: no wait before the next attempt."""


class LinkState(StrEnum):
    """State of a link."""

    SEARCHING = "searching"
    WAITING = "waiting for a slot"
    CONNECTING = "connecting"
    FETCHING = "fetching"
    LIVE = "live"
    BACKING_OFF = "backing off"


_CONNECTED = (LinkState.FETCHING, LinkState.LIVE)


@dataclass(slots=True)
class Link:
    """One bracelet's link. Times are seconds of a monotonic clock.

    Attributes:
        silence_s: a connected bracelet that sends nothing for this long counts as lost.
        random: returns numbers from 0 up to 1.
        since: when the current state began.
        failure: why the last attempt or link ended; None since the next one began.
    """

    silence_s: float
    random: Callable[[], float]
    since: float = 0.0
    state: LinkState = LinkState.SEARCHING
    failure: LinkFailure | None = None
    _last_data: float = 0.0
    _not_before: float = 0.0
    _backoff: Backoff = field(init=False)

    def __post_init__(self) -> None:
        self._backoff = Backoff(FIRST_WAIT_S, LONGEST_WAIT_S, self.random)

    @property
    def failures(self) -> int:
        """Consecutive failures."""
        return self._backoff.failures

    @property
    def reason(self) -> str:
        """Why the last attempt or link ended, in words; empty since the next one began."""
        return self.failure.text if self.failure else ""

    @property
    def connected(self) -> bool:
        """Whether the bracelet is connected."""
        return self.state in _CONNECTED

    def wants_to_connect(self, advertised: float, now: float) -> bool:
        """Return whether to connect now, given the time of the latest advertisement."""
        self.wake(now)
        return self.state in (LinkState.SEARCHING, LinkState.WAITING) and advertised >= self.since

    def wake(self, now: float) -> None:
        """Leave BACKING_OFF if its time is over."""
        if self.state is LinkState.BACKING_OFF and now >= self._not_before:
            # advertisements received while waiting count: they are newer than the end of the link
            self.state = LinkState.SEARCHING

    def wait_for_slot(self, now: float) -> None:
        """Wait until the adapter has a free link."""
        self._enter(LinkState.WAITING, now, SLOTS_TAKEN)

    def connecting(self, now: float) -> None:
        """Note that an attempt begins."""
        self._enter(LinkState.CONNECTING, now)

    def fetching(self, now: float) -> None:
        """Note that the bracelet is connected; missed records are fetched from flash."""
        self._enter(LinkState.FETCHING, now)
        self._last_data = now

    def live(self, now: float) -> None:
        """Note that nothing is left to fetch."""
        if self.state is LinkState.FETCHING:
            self._enter(LinkState.LIVE, now)

    def note_data(self, now: float) -> None:
        """Restart the silence time: the bracelet sent something, or the adapter could not receive it."""
        self._last_data = now

    def silent(self, now: float) -> bool:
        """Return whether a connected bracelet has sent nothing for too long."""
        return self.connected and now - self._last_data > self.silence_s

    def ended(self, now: float, failure: LinkFailure) -> float:
        """Note the end of an attempt or link. Return the seconds to wait before the next attempt."""
        if self.state is LinkState.LIVE and now - self.since >= STABLE_S:
            self._backoff.reset()
            self._enter(LinkState.SEARCHING, now, failure)
            return 0.0
        wait = self._backoff.after_failure()
        if self.state is LinkState.LIVE:
            wait = min(wait, LONGEST_WAIT_AFTER_LIVE_S)
        self._enter(LinkState.BACKING_OFF, now, failure)
        self._not_before = now + wait
        return wait

    def _enter(self, state: LinkState, now: float, failure: LinkFailure | None = None) -> None:
        self.state, self.since, self.failure = state, now, failure
