"""Sounder and light follow the urgency, on gpiozero's mock pins."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from gpiozero import Device
from gpiozero.pins.mock import MockFactory, MockPin

from edge_gateway.alarms.gpio import sound
from edge_gateway.config import GpioConfig
from tests.waiting import eventually
from vitals.conditions import Priority

CONFIG = GpioConfig(sounder_pin=17, light_pin=27)


@pytest.fixture
def pins() -> Iterator[MockFactory]:
    Device.pin_factory = MockFactory()
    yield Device.pin_factory
    Device.pin_factory.reset()
    Device.pin_factory = None


def switched(pin: MockPin) -> int:
    return len(pin.states) - 1


async def test_sounder_and_light_blink_while_it_is_urgent_and_stop(pins: MockFactory) -> None:
    urgency: Priority | None = None
    sounder, light = pins.pin(17), pins.pin(27)
    task = asyncio.create_task(sound(CONFIG, lambda: urgency))
    await asyncio.sleep(0.6)
    assert switched(sounder) <= 1
    urgency = Priority.HIGH
    await eventually(lambda: switched(sounder) >= 4 and switched(light) >= 4)
    urgency = None
    await eventually(lambda: not sounder.state and not light.state)
    await asyncio.sleep(0.6)
    count = switched(sounder)
    await asyncio.sleep(0.6)
    assert switched(sounder) == count
    task.cancel()


async def test_low_priority_is_silent(pins: MockFactory) -> None:
    task = asyncio.create_task(sound(CONFIG, lambda: Priority.LOW))
    await asyncio.sleep(0.8)
    assert switched(pins.pin(17)) <= 1
    task.cancel()


async def test_machine_without_pins_logs_an_error_and_returns(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GPIOZERO_PIN_FACTORY", "native")
    Device.pin_factory = None
    await asyncio.wait_for(sound(CONFIG, lambda: None), 5)
    assert "sounder and light are disabled" in caplog.text
