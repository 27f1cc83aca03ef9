"""Standard devices through plain bleak; the expected bytes are written out from the SIG's specifications."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from bleak import BleakClient, BleakScanner

from firmware_sim.radio.standard_device import Oximeter, StandardDevice, Strap, Thermometer
from firmware_sim.radio.virtual_radio import VirtualLink
from tests.firmware_sim.air import Air, ReceivedValues, find, until
from vitals.reading import Measurements


def uuid(number: str) -> str:
    return f"0000{number}-0000-1000-8000-00805f9b34fb"


@pytest.mark.parametrize(
    ("device_class", "name", "service", "characteristic", "values", "sent"),
    [
        (Oximeter, "Sim Oximeter 001", "1822", "2a5f", (87.6, 72), "00 6C F3 48 00"),
        (Strap, "Sim Strap 001", "180d", "2a37", (97, 72), "06 48"),
    ],
)
async def test_device_advertises_its_service_and_sends_measurements(
    air: Air,
    device_class: Callable[[VirtualLink, int, str], StandardDevice],
    name: str,
    service: str,
    characteristic: str,
    values: tuple[float, float],
    sent: str,
) -> None:
    device = device_class(air.link, 41, "001")
    await device.start()
    seen = await BleakScanner.discover(timeout=0.5, return_adv=True)
    assert seen[device.address][1].service_uuids == [uuid(service)]
    notes = ReceivedValues()
    async with BleakClient(await find(name)) as client:
        assert await client.read_gatt_char(uuid("2a19")) == b"\x50"
        assert await client.read_gatt_char(uuid("2a25")) == b"001"
        await device.measure(Measurements(spo2_pct=90, freq_card=60))  # no subscriber: it is lost
        await client.start_notify(uuid(characteristic), notes)
        await device.measure(Measurements(spo2_pct=values[0], freq_card=values[1]))
        await until(lambda: notes.values)
    await device.stop()
    assert notes.values == [bytes.fromhex(sent)]


async def test_oximeter_reports_features_and_a_detached_probe(air: Air) -> None:
    oximeter = Oximeter(air.link, 41, "001")
    await oximeter.start()
    continuous, spot = ReceivedValues(), ReceivedValues()
    async with BleakClient(await find("Sim Oximeter 001")) as client:
        # measurement status, sensor status and timestamp; all bits of both status fields
        assert await client.read_gatt_char(uuid("2a60")) == bytes.fromhex("0B 00 E0 FF FF FF 00")
        await client.start_notify(uuid("2a5f"), continuous)
        await client.start_notify(uuid("2a5e"), spot)
        await oximeter.measure(None)
        taken = datetime(2025, 8, 24, 10, 30, 5, tzinfo=UTC)
        await oximeter.spot_check(Measurements(spo2_pct=97.5, freq_card=72), taken)
        await oximeter.spot_check(Measurements(spo2_pct=97.5, freq_card=72), taken, clock_set=False)
        await until(lambda: continuous.values and len(spot.values) == 2)
    await oximeter.stop()
    # no values; invalid; not on the user and disconnected
    assert continuous.values == [bytes.fromhex("0C FF 07 FF 07 00 80 00 88 00")]
    assert spot.values == [
        bytes.fromhex("01 CF F3 48 00 E9 07 08 18 0A 1E 05"),
        bytes.fromhex("11 CF F3 48 00 E9 07 08 18 0A 1E 05"),
    ]


async def test_strap_reports_the_chest_and_lost_contact(air: Air) -> None:
    strap = Strap(air.link, 41, "001")
    await strap.start()
    notes = ReceivedValues()
    async with BleakClient(await find("Sim Strap 001")) as client:
        assert await client.read_gatt_char(uuid("2a38")) == b"\x01"
        await client.start_notify(uuid("2a37"), notes)
        await strap.measure(None)
        await until(lambda: notes.values)
    await strap.stop()
    assert notes.values == [bytes.fromhex("04 00")]


@pytest.mark.parametrize(
    ("fahrenheit", "sent"),
    [
        (False, "02 85 01 00 FF E9 07 08 18 0A 1E 05"),  # 389 tenths of °C
        (True, "03 DA 27 00 FE E9 07 08 18 0A 1E 05"),  # 10202 hundredths of °F
    ],
)
async def test_thermometer_sends_its_time_and_has_a_readable_site(
    air: Air, fahrenheit: bool, sent: str
) -> None:
    at = datetime(2025, 8, 24, 10, 30, 5, tzinfo=UTC)
    thermometer = Thermometer(air.link, 41, "001", fahrenheit=fahrenheit, now=lambda: at)
    await thermometer.start()
    notes = ReceivedValues()
    async with BleakClient(await find("Sim Thermometer 001")) as client:
        assert await client.read_gatt_char(uuid("2a1d")) == b"\x03"
        await client.start_notify(uuid("2a1c"), notes)
        await thermometer.measure(Measurements(temp_corp=38.9))
        await until(lambda: notes.values)
    await thermometer.stop()
    assert notes.values == [bytes.fromhex(sent)]
