"""Telling systemd that the gateway is ready, alive and stopping: sd_notify(3), where there is systemd."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Callable, Mapping

log = logging.getLogger(__name__)


class Supervisor:
    """systemd, or nobody.

    Args:
        environment: where systemd says how it wants to be told: `NOTIFY_SOCKET`, `WATCHDOG_USEC`.
    """

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        address = environment.get("NOTIFY_SOCKET", "")
        self._address = f"\0{address[1:]}" if address.startswith("@") else address
        microseconds = environment.get("WATCHDOG_USEC", "")
        self._every_s = int(microseconds) / 2_000_000 if microseconds.isdecimal() else None

    def ready(self) -> None:
        """The gateway runs."""
        self._tell("READY=1")

    def stopping(self) -> None:
        """The gateway was asked to end, and makes durable what it has."""
        self._tell("STOPPING=1")

    async def watch(self, healthy: Callable[[], bool]) -> None:
        """Tell that all is well twice as often as systemd wants to hear it, for as long as it is so."""
        while self._every_s is not None:
            if healthy():
                self._tell("WATCHDOG=1")
            else:
                log.error("the gateway does not work any more; systemd will restart it")
            await asyncio.sleep(self._every_s)

    def _tell(self, state: str) -> None:
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
                channel.sendto(state.encode(), self._address)
        except OSError as error:
            log.warning("systemd cannot be told %s: %s", state, error)
