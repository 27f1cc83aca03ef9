"""A simulated Bluetooth adapter for bleak: code that uses BleakScanner and BleakClient runs unchanged.

The gateway loads `open_radio` as a plug-in; `use_device` does the same with a Bumble device of this process,
for tests.
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
from firmware_sim.radio.bonds import bond_store
from firmware_sim.radio.virtual_radio import just_works_pairing

log = logging.getLogger(__name__)

GATEWAY_ADDRESS = "F0:1B:DC:4A:00:01"
_POWER_ON_S = 5.0
_RETRY_S = (0.2, 0.5, 1.0, 2.0)
_FACTORIES = ("get_platform_client_backend_type", "get_platform_scanner_backend_type")


@asynccontextmanager
async def open_radio(transport_spec: str) -> AsyncIterator[Radio]:
    """Make bleak use the radio at the other end of an HCI transport inside the block.

    When the transport is lost, connections drop and nothing can be started until it is back; then scans
    resume.

    Args:
        transport_spec: a Bumble transport, such as `tcp-client:127.0.0.1:9544`.

    Raises:
        BleakBluetoothNotAvailableError: there is no radio, or it is in use.
    """
    radio = Radio()
    transport, device = await _open_device(transport_spec)
    await radio.attach(device)
    reconnecting = asyncio.create_task(_reconnect_when_lost(radio, transport_spec, transport), name="radio")
    try:
        with _patched_bleak(radio):
            yield radio
    finally:
        reconnecting.cancel()
        with suppress(asyncio.CancelledError):
            await reconnecting


@asynccontextmanager
async def use_device(device: Device) -> AsyncIterator[Radio]:
    """Make bleak use a Bumble device inside the block; the device is already powered on."""
    radio = Radio()
    await radio.attach(device)
    with _patched_bleak(radio):
        yield radio
    radio.detach()


@contextmanager
def _patched_bleak(radio: Radio) -> Iterator[None]:
    """Replace bleak's platform backends inside the block."""

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


async def _open_device(spec: str) -> tuple[Transport, Device]:
    try:
        transport = await open_transport(spec)
    except (OSError, ValueError, BaseBumbleError) as error:
        raise _unavailable(
            f"no simulated radio at {spec} ({error}); start kidjamo-sim bracelets first"
        ) from error
    device = Device.with_hci("gateway", hci.Address(GATEWAY_ADDRESS), transport.source, transport.sink)
    try:
        async with asyncio.timeout(_POWER_ON_S):
            await device.power_on()
    except (BaseBumbleError, TimeoutError) as error:
        await transport.close()
        raise _unavailable(
            f"the simulated radio at {spec} does not respond; another gateway may be using it"
        ) from error
    device.pairing_config_factory = just_works_pairing
    device.keystore = bond_store("gateway", GATEWAY_ADDRESS)
    return transport, device


async def _reconnect_when_lost(radio: Radio, spec: str, transport: Transport) -> None:
    """Wait for the transport to be lost and open it again, forever."""
    while True:
        try:
            await asyncio.shield(transport.source.terminated)
            log.warning("the simulated radio at %s is gone; retrying", spec)
        finally:
            radio.detach()
            await transport.close()
        transport = await _reopen_device(radio, spec)


async def _reopen_device(radio: Radio, spec: str) -> Transport:
    attempt = 0
    while True:
        await asyncio.sleep(_RETRY_S[min(attempt, len(_RETRY_S) - 1)])
        attempt += 1
        try:
            transport, device = await _open_device(spec)
        except BleakBluetoothNotAvailableError as error:
            log.debug("radio still unavailable: %s", error)
        else:
            await radio.attach(device)
            log.warning("the simulated radio at %s is back", spec)
            return transport


def _unavailable(message: str) -> BleakBluetoothNotAvailableError:
    return BleakBluetoothNotAvailableError(message, BleakBluetoothNotAvailableReason.NO_BLUETOOTH)
