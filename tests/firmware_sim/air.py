"""Bracelets and one gateway radio on a virtual link, for tests that use plain bleak."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from bleak import BleakClient, BleakScanner
from bleak.backends.characteristic import BleakGATTCharacteristic
from bleak.backends.device import BLEDevice
from bumble.device import Device

from firmware_sim.firmware.bracelet import Bracelet
from firmware_sim.radio.peripheral import BraceletPeripheral
from firmware_sim.radio.virtual_radio import VirtualController, VirtualLink
from tests.waiting import PATIENCE_S
from vitals.gatt.bracelet import RECORD_ACCESS, BraceletRecord
from vitals.gatt.record_access import Count, Request, Response, parse_indication
from vitals.reading import Measurements

BOOT = 5


def now_ms() -> int:
    """Return the true time."""
    return time.time_ns() // 1_000_000


def calm(number: int = 0) -> Measurements:
    """Return normal values that differ from reading to reading."""
    return Measurements(spo2_pct=97.0, freq_card=60 + number % 100, freq_resp=18.0, temp_corp=36.8)


class Air:
    """The virtual link, the gateway's radio, and bracelets."""

    def __init__(self) -> None:
        self.link = VirtualLink()
        self.gateway: Device
        self.controller: VirtualController
        self.gateway, self.controller = self.link.device("gateway", 0)
        self.bracelets: list[BraceletPeripheral] = []

    async def add(self, *, stored: int = 0, mtu: int = 247, secure: bool = False) -> BraceletPeripheral:
        """Start a bracelet with this many stored records."""
        number = len(self.bracelets) + 1
        state = Bracelet(f"ble-{number:03d}", BOOT, now_ms())
        for index in range(stored):
            state.measure(calm(index), now_ms())
        peripheral = BraceletPeripheral(self.link, number, state, now_ms, mtu=mtu, secure=secure)
        await peripheral.start()
        self.bracelets.append(peripheral)
        return peripheral

    async def close(self) -> None:
        """Stop all bracelets."""
        for peripheral in self.bracelets:
            await peripheral.stop()


class ReceivedValues:
    """Callback that collects the values of one characteristic."""

    def __init__(self) -> None:
        self.values: list[bytes] = []

    def __call__(self, _sender: BleakGATTCharacteristic, value: bytearray) -> None:
        self.values.append(bytes(value))

    @property
    def seqs(self) -> list[int]:
        """Sequence numbers of the records."""
        return [BraceletRecord.from_bytes(value).seq for value in self.values]

    @property
    def responses(self) -> list[Count | Response]:
        """Parsed indications of the record access control point."""
        return [parse_indication(value) for value in self.values]


async def until(condition: Callable[[], object], timeout_s: float = PATIENCE_S) -> None:
    """Wait until the condition is true."""
    async with asyncio.timeout(timeout_s):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def find(name: str = "Kidjamo-ble-001") -> BLEDevice:
    """Scan for one bracelet by its name."""
    device = await BleakScanner.find_device_by_name(name, timeout=PATIENCE_S)
    assert device, f"{name} not found"
    return device


async def ask(client: BleakClient, request: Request, indications: ReceivedValues) -> Count | Response:
    """Write to the control point and wait for the indicated response."""
    before = len(indications.values)
    await client.write_gatt_char(RECORD_ACCESS, bytes(request), response=True)
    await until(lambda: len(indications.values) > before)
    return indications.responses[before]
