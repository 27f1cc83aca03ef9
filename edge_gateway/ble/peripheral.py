"""A connected Bluetooth device: bleak's client with this package's errors and a time limit on every call."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar

from bleak import BleakClient
from bleak.exc import BleakCharacteristicNotFoundError, BleakGATTProtocolError

from edge_gateway.ble.link_failure import RADIO_ERRORS, failure_of
from edge_gateway.errors import LinkLost, RequestRefused
from vitals.gatt.services import SERIAL_NUMBER

_REQUEST_S = 10.0
"""An ATT transaction may take 30 s; a bracelet that takes so long counts as lost."""
_T = TypeVar("_T")

OnData = Callable[[bytes], None]


class Peripheral(Protocol):
    """A connected device, as a session uses it. Its methods raise LinkLost or RequestRefused."""

    @property
    def services(self) -> frozenset[str]:
        """Services it offers, 128-bit UUIDs in lower case."""

    async def read(self, uuid: str) -> bytes:
        """Read a characteristic."""

    async def subscribe(self, uuid: str, on_data: OnData) -> None:
        """Subscribe to notifications or indications of a characteristic."""

    async def write(self, uuid: str, data: bytes) -> None:
        """Write a characteristic and wait for the response."""


class BlePeripheral:
    """The device at the other end of a bleak client."""

    def __init__(self, client: BleakClient) -> None:
        self._client = client

    @property
    def services(self) -> frozenset[str]:
        """Services it offers, 128-bit UUIDs in lower case."""
        return frozenset(service.uuid.lower() for service in self._client.services)

    async def read(self, uuid: str) -> bytes:
        """Read a characteristic."""
        return bytes(await request(self._client.read_gatt_char(uuid)))

    async def subscribe(self, uuid: str, on_data: OnData) -> None:
        """Subscribe to notifications or indications of a characteristic."""
        await request(self._client.start_notify(uuid, lambda _sender, data: on_data(bytes(data))))

    async def write(self, uuid: str, data: bytes) -> None:
        """Write a characteristic and wait for the response."""
        await request(self._client.write_gatt_char(uuid, data, response=True))


async def serial_number(peripheral: Peripheral) -> str:
    """Read the device's serial number.

    Raises:
        LinkLost, RequestRefused: it cannot be read.
    """
    return (await peripheral.read(SERIAL_NUMBER)).decode(errors="replace").strip("\0 ")


async def request(call: Awaitable[_T]) -> _T:
    """Await one request to a device, with a time limit.

    Raises:
        RequestRefused: the device answered with an error.
        LinkLost: any other failure.
    """
    try:
        async with asyncio.timeout(_REQUEST_S):
            return await call
    except TimeoutError:
        raise LinkLost("it does not answer") from None
    except (BleakGATTProtocolError, BleakCharacteristicNotFoundError) as error:
        raise RequestRefused(failure_of(error).text) from error
    except RADIO_ERRORS as error:
        raise LinkLost(failure_of(error).text) from error
