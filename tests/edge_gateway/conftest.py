"""Fixtures for all tests of the gateway."""

from __future__ import annotations

import pytest

from edge_gateway.ble import clock_sync, standard_session


@pytest.fixture(autouse=True)
def _clock_synchronised(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the clock count as synchronised, whatever the machine that runs the tests reports."""
    for module in (clock_sync, standard_session):
        monkeypatch.setattr(module, "is_synchronised", lambda: True)
