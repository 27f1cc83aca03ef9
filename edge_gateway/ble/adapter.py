"""The Bluetooth adapter: one long-lived scanner, one connection attempt at a time, never both at once.

`radio = "system"` is the machine's own adapter. `"<plug-in>:<address>"` opens an entry point of the group
`kidjamo.radio`; within its context the same bleak calls use that radio.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext, suppress
from importlib.metadata import entry_points
from typing import Any, cast

from bleak import BleakScanner
from bleak.backends.device import BLEDevice
from bleak.backends.scanner import AdvertisementData

from edge_gateway.ble.advertisements import Advertisement
from edge_gateway.ble.link_failure import RADIO_ERRORS, failure_of
from edge_gateway.errors import RadioUnavailable
from vitals.backoff import Backoff
from vitals.gatt.services import VITALS_OF

log = logging.getLogger(__name__)

SYSTEM = "system"
RADIO_GROUP = "kidjamo.radio"
_BACKOFF_CAP_S = 15.0
_SILENCE_S = 60.0
"""An adapter without any advertisement for this long, and without a link, is opened again."""
_STEP_S = 10.0
_CHECK_EVERY_S = 1.0

OnAdvertisement = Callable[[Advertisement], None]


def open_radio(setting: str) -> AbstractAsyncContextManager[object]:
    """Return the radio that a setting names.

    Raises:
        RadioUnavailable: no such plug-in is installed, or it cannot be loaded.
    """
    if setting == SYSTEM:
        return nullcontext()
    name, _, address = setting.partition(":")
    found = list(entry_points(group=RADIO_GROUP, name=name))
    if not found:
        known = ", ".join(sorted(point.name for point in entry_points(group=RADIO_GROUP))) or "none"
        raise RadioUnavailable(f'no radio plug-in "{name}" is installed (found: {known})')
    try:
        factory = found[0].load()
    except (ImportError, AttributeError) as error:
        raise RadioUnavailable(f'radio plug-in "{name}" cannot be loaded: {error}') from error
    return cast(AbstractAsyncContextManager[object], factory(address))


class Adapter:
    """Scans for bracelets, and stops scanning while a connection is made.

    Args:
        setting: `radio` of the configuration.
        on_advertisement: called for each advertisement of a service that carries vitals.
        has_links: whether any link is up; then a silent scanner means nothing.
        on_state: called with the adapter's state in words.

    Attributes:
        scanning: whether the adapter works now.
        fault: why it was closed last; empty before the first fault and while it works.
    """

    def __init__(
        self,
        setting: str,
        on_advertisement: OnAdvertisement,
        has_links: Callable[[], bool],
        on_state: Callable[[str], None],
    ) -> None:
        self._setting, self._on_advertisement = setting, on_advertisement
        self._has_links, self._on_state = has_links, on_state
        self.scanning, self.fault = False, ""
        self._lock = asyncio.Lock()
        self._scanner: BleakScanner | None = None
        self._must_restart = False
        self._last_advertisement = 0.0

    async def run(self, known: Sequence[str] = ()) -> None:
        """Keep the radio open and the scanner running until cancelled.

        Args:
            known: addresses of bracelets. Links to them that a crashed gateway left open are closed first: a
                connected bracelet does not advertise.
        """
        backoff = Backoff(1.0, _BACKOFF_CAP_S, random.random)
        while True:
            try:
                async with open_radio(self._setting):
                    if self._setting == SYSTEM:
                        await close_stale_links(known)
                    await self._scan(backoff)
                self.fault = "it received nothing, or scanning failed"
            except RadioUnavailable as error:
                self.fault = str(error)
            except RADIO_ERRORS as error:
                self.fault = failure_of(error).text
            self.scanning = False
            level = logging.DEBUG if backoff.failures else logging.WARNING
            log.log(level, "radio %s: %s; opening it again", self._setting, self.fault)
            self._on_state(f"away: {self.fault}")
            await asyncio.sleep(backoff.after_failure())

    @asynccontextmanager
    async def connecting(self) -> AsyncIterator[None]:
        """Hold the adapter for one connection attempt.

        Raises:
            RadioUnavailable: the adapter is not open.
        """
        async with self._lock:
            if self._scanner is None:
                raise RadioUnavailable("the radio is away")
            self._must_restart = True  # until it scans again, also when a cancellation comes in between
            try:
                await self._stop_scanning()
                yield
            finally:
                await self._start_scanning()

    async def _scan(self, backoff: Backoff) -> None:
        """Scan until the adapter fails."""
        self._must_restart = False
        self._last_advertisement = time.monotonic()
        self._scanner = BleakScanner(self._on_detected)
        try:
            async with self._lock:
                await _within(self._scanner.start())
            self.scanning, self.fault = True, ""
            self._on_state("scanning")
            backoff.reset()
            while not self._silent():
                await asyncio.sleep(_CHECK_EVERY_S)
                if self._must_restart and not await self._restart():
                    return
        finally:
            async with self._lock:
                await self._stop_scanning()
                self._scanner = None

    async def _restart(self) -> bool:
        """Start a scanner that failed to start. Return False if the adapter has to be opened again.

        As long as links are up, the adapter stays open for them.
        """
        async with self._lock:
            if self._must_restart:
                await self._start_scanning()
        return not self._must_restart or self._has_links()

    def _silent(self) -> bool:
        if self._has_links():
            self._last_advertisement = time.monotonic()
        return time.monotonic() - self._last_advertisement > _SILENCE_S

    # The scanner does not filter by service: on Bluetooth 5 adapters, Linux then drops scan responses, which
    # contain no service, and with them the names.
    def _on_detected(self, device: BLEDevice, data: AdvertisementData) -> None:
        self._last_advertisement = time.monotonic()
        advertisement = Advertisement.of(device, data)
        if not advertisement.services.isdisjoint(VITALS_OF):
            self._on_advertisement(advertisement)

    async def _stop_scanning(self) -> None:
        if self._scanner:
            with suppress(*RADIO_ERRORS):
                await _within(self._scanner.stop())

    async def _start_scanning(self) -> None:
        if self._scanner:
            try:
                await _within(self._scanner.start())
                self._must_restart = False
            except RADIO_ERRORS as error:
                log.debug("scanning does not start: %s", error)
                self._must_restart = True


async def close_stale_links(addresses: Sequence[str]) -> None:
    """Close links of the machine's own adapter that an earlier gateway left open."""
    from bleak_retry_connector import close_stale_connections_by_address  # slow import, used with BlueZ only

    for address in addresses:
        with suppress(*RADIO_ERRORS):
            await _within(close_stale_connections_by_address(address))


async def _within(step: Coroutine[Any, Any, Any]) -> None:
    """Run a step in a task with a time limit, so that no library can swallow a cancellation."""
    task = asyncio.create_task(step)
    try:
        done, _ = await asyncio.wait([task], timeout=_STEP_S)
        if not done:
            raise TimeoutError(f"not finished within {_STEP_S:g} s")
        task.result()
    finally:
        task.cancel()
