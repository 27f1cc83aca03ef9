"""An air with a gateway's radio that plain bleak uses."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from firmware_sim.bleak_backend import use_device
from tests.firmware_sim.air import Air


@pytest.fixture
async def air() -> AsyncIterator[Air]:
    made = Air()
    await made.gateway.power_on()
    async with use_device(made.gateway):
        yield made
    await made.close()
