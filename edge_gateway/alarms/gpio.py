"""A sounder and a light on the pins of a Raspberry Pi: the alarm that needs neither screen nor network."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import ExitStack

from edge_gateway.config import GpioConfig
from vitals.conditions import Priority

log = logging.getLogger(__name__)

_LOOK_EVERY_S = 0.5
_PATTERNS = {Priority.HIGH: (0.2, 0.2), Priority.MEDIUM: (0.5, 4.5)}
"""Seconds on and off, again and again; low priority is for the page."""


async def sound(config: GpioConfig, urgency: Callable[[], Priority | None]) -> None:
    """Sound and blink as urgently as asked, until cancelled; without the pins, say so once and do nothing.

    Args:
        urgency: the highest priority that is not silenced; None for silence.
    """
    from gpiozero import DigitalOutputDevice  # only where pins are configured
    from gpiozero.exc import GPIOZeroError

    with ExitStack() as pins:
        try:
            devices = [
                pins.enter_context(DigitalOutputDevice(pin))
                for pin in (config.sounder_pin, config.light_pin)
                if pin is not None
            ]
        except (GPIOZeroError, OSError, ImportError) as error:
            log.error("neither sounder nor light: %s", error)
            return
        now: tuple[float, float] | None = None
        while True:
            asked = urgency()
            wanted = _PATTERNS.get(asked) if asked else None
            if wanted != now:
                now = wanted
                for device in devices:
                    device.blink(*wanted) if wanted else device.off()
            await asyncio.sleep(_LOOK_EVERY_S)
