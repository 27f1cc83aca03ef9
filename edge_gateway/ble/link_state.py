"""The state of one bracelet's link, as pure logic: time and chance are arguments.

    SEARCHING ──seen──▶ CONNECTING ──▶ FETCHING ──▶ LIVE
     ▲   ▲ └─no slot─▶ WAITING ─slot─▶  │             │
     │   └──────────────────────────────┼─lost after──┘
     │                                  │ a stable time: at once
     └───── waited ◀── BACKING_OFF ◀────┴─failed, or lost early

A bracelet is connected only after an advertisement that is newer than its last link, because what an adapter
knows of a device goes stale within seconds of a disconnect.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum

from vitals.backoff import Backoff

FIRST_WAIT_S = 0.5
LONGEST_WAIT_S = 30.0
LONGEST_WAIT_AFTER_LIVE_S = 2.0
"""A bracelet at the edge of its range flaps: what it measures is worth trying for again and again."""
STABLE_S = 5.0
"""A link that was live this long has worked: its loss is bad luck, and no reason to wait."""

SLOTS_TAKEN = "all links of the adapter are taken"


class LinkState(StrEnum):
    """Where a link stands."""

    SEARCHING = "searching"
    WAITING = "waiting for a slot"
    CONNECTING = "connecting"
    FETCHING = "fetching"
    LIVE = "live"
    BACKING_OFF = "backing off"


_CONNECTED = (LinkState.FETCHING, LinkState.LIVE)


@dataclass(slots=True)
class Link:
    """One bracelet's link. Times are seconds of any clock that does not jump.

    Attributes:
        silence_s: a connected bracelet that says nothing for this long is taken as gone.
        random: numbers from 0 up to 1.
        since: when the present state began.
        reason: why the last attempt or link ended.
    """

    silence_s: float
    random: Callable[[], float]
    since: float = 0.0
    state: LinkState = LinkState.SEARCHING
    reason: str = ""
    _heard: float = 0.0
    _not_before: float = 0.0
    _backoff: Backoff = field(init=False)

    def __post_init__(self) -> None:
        self._backoff = Backoff(FIRST_WAIT_S, LONGEST_WAIT_S, self.random)

    @property
    def failures(self) -> int:
        """Failures in a row."""
        return self._backoff.failures

    @property
    def connected(self) -> bool:
        """Whether there is a link now."""
        return self.state in _CONNECTED

    def wants_to_connect(self, advertised: float, now: float) -> bool:
        """Whether an advertisement seen at a given time is worth a connection attempt now."""
        self.wake(now)
        return self.state in (LinkState.SEARCHING, LinkState.WAITING) and advertised >= self.since

    def wake(self, now: float) -> None:
        """End a wait that is over."""
        if self.state is LinkState.BACKING_OFF and now >= self._not_before:
            # advertisements heard while waiting count: the device was there after its link had ended
            self.state = LinkState.SEARCHING

    def wait_for_slot(self, now: float) -> None:
        """All links the adapter can hold are taken."""
        self._enter(LinkState.WAITING, now, SLOTS_TAKEN)

    def connecting(self, now: float) -> None:
        """An attempt begins."""
        self._enter(LinkState.CONNECTING, now, "")

    def fetching(self, now: float) -> None:
        """Connected and subscribed; missed records come from flash."""
        self._enter(LinkState.FETCHING, now, "")
        self._heard = now

    def live(self, now: float) -> None:
        """All that was missed is here."""
        if self.state is LinkState.FETCHING:
            self._enter(LinkState.LIVE, now, "")

    def heard(self, now: float) -> None:
        """The bracelet said something, or could not have (the radio was busy connecting another one)."""
        self._heard = now

    def silent(self, now: float) -> bool:
        """Whether a connected bracelet has said nothing for too long."""
        return self.connected and now - self._heard > self.silence_s

    def ended(self, now: float, reason: str) -> float:
        """The attempt failed or the link is gone; returns the seconds to wait before the next attempt."""
        if self.state is LinkState.LIVE and now - self.since >= STABLE_S:
            self._backoff.reset()
            self._enter(LinkState.SEARCHING, now, reason)
            return 0.0
        wait = self._backoff.after_failure()
        if self.state is LinkState.LIVE:
            wait = min(wait, LONGEST_WAIT_AFTER_LIVE_S)
        self._enter(LinkState.BACKING_OFF, now, reason)
        self._not_before = now + wait
        return wait

    def _enter(self, state: LinkState, now: float, reason: str) -> None:
        self.state, self.since, self.reason = state, now, reason
