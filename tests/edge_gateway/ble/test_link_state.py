"""The state machine of a link, without a radio."""

from __future__ import annotations

from edge_gateway.ble.link_failure import FailureKind, LinkFailure
from edge_gateway.ble.link_state import Link, LinkState

GONE = LinkFailure(FailureKind.OTHER, "gone")


def a_link() -> Link:
    return Link(silence_s=30.0, random=lambda: 1.0)


def live_since(link: Link, now: float) -> None:
    link.connecting(now)
    link.fetching(now)
    link.live(now)


def test_link_seen_connects_fetches_and_is_live() -> None:
    link = a_link()
    assert link.state == "searching"
    assert link.wants_to_connect(advertised=1.0, now=1.0)
    link.connecting(1.0)
    assert not link.wants_to_connect(advertised=1.1, now=1.1)
    link.fetching(1.2)
    assert link.connected
    link.live(1.5)
    assert link.state == "live"


def test_link_lost_after_a_stable_time_connects_with_the_next_advertisement() -> None:
    link = a_link()
    live_since(link, 0.0)
    assert link.ended(100.0, GONE) == 0.0
    assert not link.wants_to_connect(advertised=99.9, now=100.1), (
        "an advertisement from before the loss is outdated"
    )
    assert link.wants_to_connect(advertised=100.2, now=100.2)


def test_link_lost_early_counts_as_a_failure() -> None:
    link = a_link()
    live_since(link, 0.0)
    assert link.ended(3.0, GONE) == 0.5
    assert link.state is LinkState.BACKING_OFF
    assert not link.wants_to_connect(advertised=3.1, now=3.4)
    assert link.wants_to_connect(advertised=3.1, now=3.6)


def test_link_failures_wait_longer_up_to_a_cap_and_a_stable_link_resets_them() -> None:
    link = a_link()
    waits = []
    for _ in range(9):
        link.connecting(0.0)
        waits.append(link.ended(0.0, GONE))
    assert waits == [0.5, 1, 2, 4, 8, 16, 30, 30, 30]
    live_since(link, 1000.0)
    link.ended(1020.0, GONE)
    assert link.failures == 0


def test_link_that_is_lost_repeatedly_is_always_retried_soon() -> None:
    link = a_link()
    waits = []
    for start in range(0, 80, 10):
        live_since(link, start)
        waits.append(link.ended(start + 1, GONE))
    assert waits == [0.5, 1, 2, 2, 2, 2, 2, 2]


def test_link_silence_is_measured_from_the_last_data() -> None:
    link = a_link()
    live_since(link, 0.0)
    assert not link.silent(30.0)
    assert link.silent(30.1)
    link.note_data(25.0)
    assert not link.silent(55.0)
    link.ended(56.0, GONE)
    assert not link.silent(1000.0), "only a connected bracelet can be silent"


def test_link_waiting_for_a_slot_has_that_reason_and_can_connect() -> None:
    link = a_link()
    link.wait_for_slot(5.0)
    assert (link.state.value, link.reason) == ("waiting for a slot", "all links of the adapter are taken")
    assert link.wants_to_connect(advertised=6.0, now=6.0)
