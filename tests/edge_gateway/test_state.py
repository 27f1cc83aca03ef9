"""The state of links."""

from __future__ import annotations

import pytest

from edge_gateway.ble.link_state import LinkState
from edge_gateway.state import GatewayState


@pytest.mark.parametrize("before", LinkState)
def test_message_makes_a_link_live_unless_it_is_fetching(before: LinkState) -> None:
    state = GatewayState("gw")
    state.link("ble-001", "ble", before)
    state.heard("ble-001", "ble")
    expected = LinkState.FETCHING if before is LinkState.FETCHING else LinkState.LIVE
    assert state.links["ble-001"].state == expected


def test_first_message_of_a_bracelet_creates_a_live_link() -> None:
    state = GatewayState("gw")
    state.heard("mqtt-001", "mqtt")
    assert (state.links["mqtt-001"].transport, state.links["mqtt-001"].state) == ("mqtt", "live")
