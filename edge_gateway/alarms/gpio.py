"""Drives a sounder and a light on the GPIO pins of a Raspberry Pi; needs neither screen nor network."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import ExitStack

from edge_gateway.config import GpioConfig
from vitals.conditions import Priority

log = logging.getLogger(__name__)

_POLL_S = 0.5
_PATTERNS = {Priority.HIGH: (0.2, 0.2), Priority.MEDIUM: (0.5, 4.5)}
"""Seconds on and off, repeated. Low priority is shown on the page only."""


async def sound(config: GpioConfig, urgency: Callable[[], Priority | None]) -> None:
    """Sound and blink until cancelled; if the pins cannot be opened, log an error and return.

    Args:
        urgency: returns the highest priority that is not silenced; None for silence.
    """
    from gpiozero import DigitalOutputDevice  # imported only where pins are configured
    from gpiozero.exc import GPIOZeroError

    with ExitStack() as pins:
        try:
            devices = [
                pins.enter_context(DigitalOutputDevice(pin))
                for pin in (config.sounder_pin, config.light_pin)
                if pin is not None
            ]
        except (GPIOZeroError, OSError, ImportError) as error:
            log.error("sounder and light are disabled: %s", error)
            return
        current: tuple[float, float] | None = None
        while True:
            priority = urgency()
            pattern = _PATTERNS.get(priority) if priority else None
            if pattern != current:
                current = pattern
                for device in devices:
                    device.blink(*pattern) if pattern else device.off()
            await asyncio.sleep(_POLL_S)
