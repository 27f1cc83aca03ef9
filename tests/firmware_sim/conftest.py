"""A virtual radio link whose gateway radio is used by plain bleak."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from firmware_sim.bleak_backend import use_device
from tests.firmware_sim.air import Air


@pytest.fixture
async def air() -> AsyncIterator[Air]:
    environment = Air()
    await environment.gateway.power_on()
    async with use_device(environment.gateway):
        yield environment
    await environment.close()
