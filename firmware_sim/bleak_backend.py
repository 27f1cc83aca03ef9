"""A simulated Bluetooth adapter for bleak: code that calls BleakScanner and BleakClient runs unchanged.

`open_radio` is what the gateway loads as its plug-in; `use_device` does the same with a Bumble device of this
process, for tests.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress

import bleak
from bleak.exc import BleakBluetoothNotAvailableError, BleakBluetoothNotAvailableReason
from bumble import hci
from bumble.core import BaseBumbleError
from bumble.device import Device
from bumble.transport import open_transport
from bumble.transport.common import Transport

from firmware_sim.radio.bleak_client import BumbleClient
from firmware_sim.radio.bleak_radio import Radio
from firmware_sim.radio.bleak_scanner import BumbleScanner
from firmware_sim.radio.bonds import kept_bonds
from firmware_sim.radio.virtual_radio import just_works

log = logging.getLogger(__name__)

GATEWAY_ADDRESS = "F0:1B:DC:4A:00:01"
_POWER_ON_S = 5.0
_RETRY_S = (0.2, 0.5, 1.0, 2.0)
_FACTORIES = ("get_platform_client_backend_type", "get_platform_scanner_backend_type")


@asynccontextmanager
async def open_radio(transport_spec: str) -> AsyncIterator[Radio]:
    """A radio at the other end of an HCI transport; inside, plain bleak calls go through it.

    When the other end goes away, connections drop and nothing can be started until it is back; then scans
    go on.

    Args:
        transport_spec: as Bumble writes it, such as `tcp-client:127.0.0.1:9544`.

    Raises:
        BleakBluetoothNotAvailableError: nothing there, or a radio that is in use.
    """
    radio = Radio()
    transport, device = await _plug_in(transport_spec)
    await radio.attach(device)
    keeper = asyncio.create_task(_keep(radio, transport_spec, transport), name="radio")
    try:
        with _installed(radio):
            yield radio
    finally:
        keeper.cancel()
        with suppress(asyncio.CancelledError):
            await keeper


@asynccontextmanager
async def use_device(device: Device) -> AsyncIterator[Radio]:
    """The same with a Bumble device that is powered already."""
    radio = Radio()
    await radio.attach(device)
    with _installed(radio):
        yield radio
    radio.detach()


@contextmanager
def _installed(radio: Radio) -> Iterator[None]:
    """Substitute bleak's platform backends, and put them back."""

    class BumbleBackendClient(BumbleClient):
        pass

    class BumbleBackendScanner(BumbleScanner):
        pass

    BumbleBackendClient.radio = BumbleBackendScanner.radio = radio
    before = [getattr(bleak, name) for name in _FACTORIES]
    for name, backend in zip(_FACTORIES, (BumbleBackendClient, BumbleBackendScanner), strict=True):
        setattr(bleak, name, lambda backend=backend: (backend, "bumble"))
    try:
        yield
    finally:
        for name, factory in zip(_FACTORIES, before, strict=True):
            setattr(bleak, name, factory)


async def _plug_in(spec: str) -> tuple[Transport, Device]:
    try:
        transport = await open_transport(spec)
    except (OSError, ValueError, BaseBumbleError) as error:
        raise _not_there(
            f"no simulated radio at {spec} ({error}); start kidjamo-sim bracelets first"
        ) from error
    device = Device.with_hci("gateway", hci.Address(GATEWAY_ADDRESS), transport.source, transport.sink)
    try:
        async with asyncio.timeout(_POWER_ON_S):
            await device.power_on()
    except (BaseBumbleError, TimeoutError) as error:
        await transport.close()
        raise _not_there(
            f"the simulated radio at {spec} does not answer; another gateway may use it"
        ) from error
    device.pairing_config_factory = just_works
    device.keystore = kept_bonds("gateway", GATEWAY_ADDRESS)
    return transport, device


async def _keep(radio: Radio, spec: str, transport: Transport) -> None:
    """Watch the transport, and plug in again whenever it was lost."""
    while True:
        try:
            await asyncio.shield(transport.source.terminated)
            log.warning("the simulated radio at %s is gone; trying again", spec)
        finally:
            radio.detach()
            await transport.close()
        transport = await _plug_in_again(radio, spec)


async def _plug_in_again(radio: Radio, spec: str) -> Transport:
    attempt = 0
    while True:
        await asyncio.sleep(_RETRY_S[min(attempt, len(_RETRY_S) - 1)])
        attempt += 1
        try:
            transport, device = await _plug_in(spec)
        except BleakBluetoothNotAvailableError as error:
            log.debug("still no radio: %s", error)
        else:
            await radio.attach(device)
            log.warning("the simulated radio at %s is back", spec)
            return transport


def _not_there(message: str) -> BleakBluetoothNotAvailableError:
    return BleakBluetoothNotAvailableError(message, BleakBluetoothNotAvailableReason.NO_BLUETOOTH)
