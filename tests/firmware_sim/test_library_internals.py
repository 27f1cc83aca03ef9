"""Undocumented attributes of libraries that the simulator replaces or uses; they may change with any release.

bleak has no registration of backends, and Bumble's virtual controller is not an extension point.
"""

from __future__ import annotations

from importlib.metadata import version

import bleak
import pytest
from bumble.controller import Controller
from bumble.link import LocalLink

from firmware_sim.radio.virtual_radio import VirtualLink


@pytest.mark.parametrize("name", ["get_platform_client_backend_type", "get_platform_scanner_backend_type"])
def test_bleak_imports_its_backend_factories(name: str) -> None:
    assert callable(getattr(bleak, name, None)), f"bleak 3.1.0 had {name}; {version('bleak')} has not"


@pytest.mark.parametrize(
    "name",
    [
        "create_le_connection",
        "on_hci_le_create_connection_cancel_command",
        "on_hci_le_create_connection_command",
        "on_hci_le_extended_create_connection_command",
        "on_hci_reset_command",
        "on_le_disconnected",
        "on_link_acl_data",
        "on_ll_advertising_pdu",
        "send_hci_packet",
    ],
)
def test_bumble_controller_has_the_methods_we_override_or_call(name: str) -> None:
    assert callable(getattr(Controller, name, None)), (
        f"bumble 0.0.236 had Controller.{name}; {version('bumble')} has not"
    )


@pytest.mark.parametrize(
    "name",
    [
        "advertising_sets",
        "is_advertising",
        "le_connections",
        "le_event_mask",
        "le_legacy_advertiser",
        "le_scan_enable",
        "pending_le_connection",
    ],
)
async def test_bumble_controller_has_the_state_we_use(name: str) -> None:
    _, controller = VirtualLink().device("radio", 1)
    assert hasattr(controller, name), f"bumble 0.0.236 had Controller().{name}; {version('bumble')} has not"


@pytest.mark.parametrize(
    "name",
    [
        "controllers",
        "find_le_controller",
        "remove_controller",
        "send_acl_data",
        "send_advertising_pdu",
    ],
)
async def test_bumble_link_has_the_attributes_we_override_or_use(name: str) -> None:
    link = LocalLink()  # type: ignore[no-untyped-call]
    assert hasattr(link, name), f"bumble 0.0.236 had LocalLink().{name}; {version('bumble')} has not"
