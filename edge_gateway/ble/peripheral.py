"""A connected Bluetooth device: bleak's client with our errors and a limit on every wait."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar

from bleak import BleakClient
from bleak.exc import BleakCharacteristicNotFoundError, BleakGATTProtocolError

from edge_gateway.ble.adapter import RADIO_ERRORS, reason_of
from edge_gateway.errors import LinkLost, RequestRefused
from vitals.gatt.services import SERIAL_NUMBER

_STEP_S = 10.0
"""An ATT transaction may take 30 s; a bracelet that takes so long is as good as gone."""
_T = TypeVar("_T")

OnData = Callable[[bytes], None]


class Peripheral(Protocol):
    """What a session needs of a connected device; it raises LinkLost, or RequestRefused where it is there."""

    @property
    def services(self) -> frozenset[str]:
        """Services it offers, 128-bit UUIDs in lower case."""

    async def read(self, uuid: str) -> bytes:
        """Read a characteristic."""

    async def subscribe(self, uuid: str, on_data: OnData) -> None:
        """Have notifications or indications of a characteristic."""

    async def write(self, uuid: str, data: bytes) -> None:
        """Write a characteristic and wait for the response."""


class BlePeripheral:
    """A device on the other end of a bleak client."""

    def __init__(self, client: BleakClient) -> None:
        self._client = client

    @property
    def services(self) -> frozenset[str]:
        """Services it offers, 128-bit UUIDs in lower case."""
        return frozenset(service.uuid.lower() for service in self._client.services)

    async def read(self, uuid: str) -> bytes:
        """Read a characteristic."""
        return bytes(await step(self._client.read_gatt_char(uuid)))

    async def subscribe(self, uuid: str, on_data: OnData) -> None:
        """Have notifications or indications of a characteristic."""
        await step(self._client.start_notify(uuid, lambda _sender, data: on_data(bytes(data))))

    async def write(self, uuid: str, data: bytes) -> None:
        """Write a characteristic and wait for the response."""
        await step(self._client.write_gatt_char(uuid, data, response=True))


async def serial_number(peripheral: Peripheral) -> str:
    """What the device says its serial number is.

    Raises:
        LinkLost, RequestRefused: it does not say.
    """
    return (await peripheral.read(SERIAL_NUMBER)).decode(errors="replace").strip("\0 ")


async def step(wanted: Awaitable[_T]) -> _T:
    """One exchange with a device, within a time that makes sense.

    Raises:
        RequestRefused: it is there and refuses.
        LinkLost: anything else.
    """
    try:
        async with asyncio.timeout(_STEP_S):
            return await wanted
    except TimeoutError:
        raise LinkLost("it does not answer") from None
    except (BleakGATTProtocolError, BleakCharacteristicNotFoundError) as error:
        raise RequestRefused(reason_of(error)) from error
    except RADIO_ERRORS as error:
        raise LinkLost(reason_of(error)) from error
