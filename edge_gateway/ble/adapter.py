"""The Bluetooth adapter: one long-lived scanner, one connection attempt at a time, never both at once.

`radio = "system"` is the machine's own adapter; `"<plug-in>:<address>"` opens one of the entry points of
group `kidjamo.radio`, inside which the same bleak calls speak through it.
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
from bleak.exc import BleakError, BleakGATTProtocolError

from edge_gateway.ble.advertisements import Advertisement
from edge_gateway.ble.link_state import SLOTS_TAKEN
from edge_gateway.errors import RadioUnavailable
from vitals.backoff import Backoff
from vitals.gatt.services import VITALS_OF

log = logging.getLogger(__name__)

SYSTEM = "system"
RADIO_GROUP = "kidjamo.radio"
RADIO_ERRORS = (BleakError, OSError, EOFError, TimeoutError)
"""What bleak and its backends raise when an adapter or a device does not do what it should."""
_BACKOFF_CAP_S = 15.0
_DEAF_S = 60.0
"""A radio that hears nothing at all for this long, with no link up, is opened anew."""
_STEP_S = 10.0
_WATCH_S = 1.0

OnAdvertisement = Callable[[Advertisement], None]


def open_radio(setting: str) -> AbstractAsyncContextManager[object]:
    """The radio a setting names.

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
    """Scans for bracelets, and stops scanning for as long as a connection is being made.

    Args:
        setting: `radio` of the configuration.
        on_sighting: called for each advertisement of a service that carries vitals.
        busy: whether any link is up; then silence of the scanner means nothing.
        on_state: told the radio's state in words.
    """

    def __init__(
        self,
        setting: str,
        on_advertisement: OnAdvertisement,
        busy: Callable[[], bool],
        on_state: Callable[[str], None],
    ) -> None:
        self._setting, self._on_advertisement, self._busy, self._on_state = (
            setting,
            on_advertisement,
            busy,
            on_state,
        )
        self._lock = asyncio.Lock()
        self._scanner: BleakScanner | None = None
        self._fault = False
        self._heard = 0.0

    async def run(self, known: Sequence[str] = ()) -> None:
        """Keep the radio open and the scanner running until cancelled.

        Args:
            known: addresses of bracelets; links to them that a crash has left behind are closed first, since
                a bracelet that is connected does not advertise.
        """
        backoff = Backoff(1.0, _BACKOFF_CAP_S, random.random)
        while True:
            try:
                async with open_radio(self._setting):
                    if self._setting == SYSTEM:
                        await close_stale_links(known)
                    await self._scan(backoff)
                reason = "it heard nothing, or would not scan"
            except (*RADIO_ERRORS, RadioUnavailable) as error:
                reason = reason_of(error)
            log.log(
                logging.DEBUG if backoff.failures else logging.WARNING,
                "radio %s: %s; it is opened again",
                self._setting,
                reason,
            )
            self._on_state(f"away: {reason}")
            await asyncio.sleep(backoff.after_failure())

    @asynccontextmanager
    async def connecting(self) -> AsyncIterator[None]:
        """Hold the adapter for one connection attempt.

        Raises:
            RadioUnavailable: the radio is away.
        """
        async with self._lock:
            if self._scanner is None:
                raise RadioUnavailable("the radio is away")
            self._fault = True  # until it scans again; also where a cancellation comes in between
            try:
                await self._stop_scanning()
                yield
            finally:
                await self._start_scanning()

    async def _scan(self, backoff: Backoff) -> None:
        """Scan until something is wrong with the radio."""
        self._fault = False
        self._heard = time.monotonic()
        self._scanner = BleakScanner(self._on_detected)
        try:
            async with self._lock:
                await _within(self._scanner.start())
            self._on_state("scanning")
            backoff.reset()
            while not self._deaf():
                await asyncio.sleep(_WATCH_S)
                if self._fault and not await self._scans_again():
                    return
        finally:
            async with self._lock:
                await self._stop_scanning()
                self._scanner = None

    async def _scans_again(self) -> bool:
        """Start a scanner that would not; as long as links are up, the radio is not given up for it."""
        async with self._lock:
            if self._fault:
                await self._start_scanning()
        return not self._fault or self._busy()

    def _deaf(self) -> bool:
        if self._busy():
            self._heard = time.monotonic()
        return time.monotonic() - self._heard > _DEAF_S

    # The scanner itself does not filter by service: on Bluetooth 5 adapters, Linux then drops scan responses,
    # which hold no service, and with them the names.
    def _on_detected(self, device: BLEDevice, data: AdvertisementData) -> None:
        self._heard = time.monotonic()
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
                self._fault = False
            except RADIO_ERRORS as error:
                log.debug("scanning does not start: %s", error)
                self._fault = True


async def close_stale_links(addresses: Sequence[str]) -> None:
    """Close links of the machine's own adapter that an earlier gateway has left behind."""
    from bleak_retry_connector import close_stale_connections_by_address  # heavy, and for BlueZ only

    for address in addresses:
        with suppress(*RADIO_ERRORS):
            await _within(close_stale_connections_by_address(address))


_ATT_SECURITY = frozenset({0x05, 0x08, 0x0C, 0x0E, 0x0F})
"""ATT errors for want of authentication, authorization or encryption (Core 5.4, Vol 3 Part F, 3.4.1.1)."""
_MEANINGS = (
    (("CONNECTION_LIMIT", "connection slot"), SLOTS_TAKEN),
    (
        ("PIN_OR_KEY_MISSING", "AUTHENTICATION_FAILURE", "AuthenticationFailed", "AuthenticationCanceled"),
        "its bond is not valid any more: kidjamo-gateway forget, then pair",
    ),
    (("NotPermitted", "NotAuthorized"), "it wants to be paired: kidjamo-gateway pair"),
)
"""What errors of BlueZ and Bumble mean to a person, by what stands in their texts."""


def reason_of(error: BaseException) -> str:
    """What an error says, in words: some of bleak's carry a code beside them."""
    if isinstance(error, BleakGATTProtocolError) and error.code in _ATT_SECURITY:
        return "it wants to be paired: kidjamo-gateway pair"
    said = error.args[0] if error.args and isinstance(error.args[0], str) else ""
    said = said or str(error) or type(error).__name__
    for marks, meaning in _MEANINGS:
        if any(mark in said for mark in marks):
            return meaning
    return said


async def _within(step: Coroutine[Any, Any, Any]) -> None:
    """Carry out a step, in a task of its own: libraries that swallow a cancellation must not swallow ours."""
    task = asyncio.create_task(step)
    try:
        done, _ = await asyncio.wait([task], timeout=_STEP_S)
        if not done:
            raise TimeoutError(f"no end within {_STEP_S:g} s")
        task.result()
    finally:
        task.cancel()
