"""Notifies systemd that the gateway is ready, alive or stopping (sd_notify(3)), where systemd runs it."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Callable, Mapping

log = logging.getLogger(__name__)


class SystemdNotifier:
    """Sends notifications to systemd.

    Args:
        environment: holds `NOTIFY_SOCKET` and `WATCHDOG_USEC` where systemd expects notifications.
    """

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        address = environment.get("NOTIFY_SOCKET", "")
        self._address = f"\0{address[1:]}" if address.startswith("@") else address
        microseconds = environment.get("WATCHDOG_USEC", "")
        self._every_s = int(microseconds) / 2_000_000 if microseconds.isdecimal() else None

    def ready(self) -> None:
        """Report that the gateway has started."""
        self._send("READY=1")

    def stopping(self) -> None:
        """Report that the gateway is shutting down."""
        self._send("STOPPING=1")

    async def watch(self, healthy: Callable[[], bool]) -> None:
        """Send keep-alives at half the watchdog interval, while `healthy` returns true, until cancelled."""
        while self._every_s is not None:
            if healthy():
                self._send("WATCHDOG=1")
            else:
                log.error("the alarm monitor has stalled; systemd will restart the gateway")
            await asyncio.sleep(self._every_s)

    def _send(self, state: str) -> None:
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
                channel.sendto(state.encode(), self._address)
        except OSError as error:
            log.warning("cannot send %s to systemd: %s", state, error)
