"""Standard oximeter, chest strap and thermometer, connected and read by their services, over Bumble."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from bumble.core import UUID
from bumble.gatt import Characteristic, Service

from edge_gateway.alarms.evaluator import AlarmEvaluator
from edge_gateway.ble import standard_session
from edge_gateway.ble.source import BleSource
from edge_gateway.ble.standard_records import of_heart_rate, of_spot_check, of_temperature
from edge_gateway.config import BleConfig
from edge_gateway.inbox import DeadLetter, InboxItem
from edge_gateway.outbox.outbox import Outbox
from edge_gateway.state import Counters, GatewayState
from firmware_sim.radio.device import Permission, Property, RadioDevice, indicated
from firmware_sim.radio.standard_device import Oximeter, StandardDevice, Strap, Thermometer
from tests.firmware_sim.air import Air
from tests.firmware_sim.conftest import air
from tests.waiting import PATIENCE_S, eventually
from vitals.absence import Absence
from vitals.gatt.current_time import DateTime
from vitals.gatt.pulse_oximeter import MeasurementCondition, MeasurementStatus, Oximetry, SpotCheckMeasurement
from vitals.gatt.thermometer import Temperature
from vitals.reading import Measurements, Reading

__all__ = ["air"]

NOW = datetime(2025, 8, 24, 10, 30, 5, tzinfo=UTC)


class StandardDeviceRig:
    """A Bluetooth source with one standard device on its list, and its readings."""

    def __init__(self, source: BleSource, state: GatewayState) -> None:
        self._source, self.state = source, state
        self.counters = Counters()
        self._alarms = AlarmEvaluator([], self.counters)

    async def next(self) -> InboxItem:
        """Return the next item; a reading is evaluated as in the gateway."""
        async with asyncio.timeout(PATIENCE_S):
            (arrival,) = await self._source.inbox.take(1)
        if isinstance(arrival.content, Reading):
            self._alarms.evaluate(arrival.content)
        return arrival

    async def reading(self) -> Reading:
        """Return the next item, which must be a reading."""
        content = (await self.next()).content
        assert isinstance(content, Reading)
        return content


@asynccontextmanager
async def a_device_rig(air: Air, path: Path, device: RadioDevice) -> AsyncIterator[StandardDeviceRig]:
    await device.start()
    state = GatewayState("gw")
    with Outbox(path / "outbox.sqlite3") as outbox:
        source = BleSource(BleConfig(), {"dev-1": "patient-1"}, {"dev-1": device.address}, outbox, state)
        running = asyncio.create_task(source.run())
        try:
            await eventually(lambda: state.links.get("dev-1") and state.links["dev-1"].state == "live")
            yield StandardDeviceRig(source, state)
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            await device.stop()


@pytest.mark.parametrize(("spo2", "fires"), [(87.6, True), (88.0, False)])
async def test_oximeter_is_read_and_evaluated(air: Air, tmp_path: Path, spo2: float, fires: bool) -> None:
    oximeter = Oximeter(air.link, 31, "OX-1")
    async with a_device_rig(air, tmp_path, oximeter) as rig:
        await oximeter.measure(Measurements(spo2_pct=spo2, freq_card=72))
        reading = await rig.reading()
        assert reading.measurements == Measurements(spo2_pct=spo2, freq_card=72)
        assert reading.signal is not None
        assert reading.signal.battery_pct == 80
        assert rig.counters.alerts == ({"CRITICAL_SPO2": 1} if fires else {})
        assert rig.state.links["dev-1"].battery_pct == 80


async def test_oximeter_off_the_finger_gives_no_value_and_the_reason(air: Air, tmp_path: Path) -> None:
    oximeter = Oximeter(air.link, 31, "OX-1")
    async with a_device_rig(air, tmp_path, oximeter) as rig:
        await oximeter.measure(None)
        await eventually(lambda: rig.state.links["dev-1"].absence is Absence.NOT_WORN)
        assert rig.state.counters.no_value == {"not_worn": 1}
        await oximeter.measure(Measurements(spo2_pct=97))
        await rig.reading()
        assert rig.state.links["dev-1"].absence is None


async def test_spot_check_sent_twice_is_one_reading_with_its_own_time(air: Air, tmp_path: Path) -> None:
    oximeter = Oximeter(air.link, 31, "OX-1")
    taken = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=3)
    async with a_device_rig(air, tmp_path, oximeter) as rig:
        for _ in range(2):
            await oximeter.spot_check(Measurements(spo2_pct=93, freq_card=101), taken)
        first, second = await rig.reading(), await rig.reading()
    assert first.message_id == second.message_id
    assert first.timestamp == first.device_time == taken
    assert first.late is True


async def test_malformed_measurement_becomes_a_dead_letter_and_the_link_stays(
    air: Air, tmp_path: Path
) -> None:
    oximeter = Oximeter(air.link, 31, "OX-1")
    async with a_device_rig(air, tmp_path, oximeter) as rig:
        await oximeter.send(b"\x03\x62")
        letter = (await rig.next()).content
        assert isinstance(letter, DeadLetter)
        assert letter.original == b"\x03\x62"
        await oximeter.measure(Measurements(spo2_pct=97))
        await rig.reading()
        assert rig.state.links["dev-1"].notice.startswith("what it sent could not be understood, 1 times")


async def test_strap_is_read(air: Air, tmp_path: Path) -> None:
    strap = Strap(air.link, 32, "HR-1")
    async with a_device_rig(air, tmp_path, strap) as rig:
        await strap.measure(Measurements(freq_card=181))
        reading = await rig.reading()
        assert reading.measurements == Measurements(freq_card=181)
        assert reading.signal is not None
        assert reading.signal.contact is True
        assert rig.counters.alerts == {"CRITICAL_HEART_RATE": 1}
        await strap.measure(None)
        await eventually(lambda: rig.state.links["dev-1"].absence is Absence.NOT_WORN)


@pytest.mark.parametrize("fahrenheit", [False, True])
async def test_thermometer_is_read_in_either_unit(air: Air, tmp_path: Path, fahrenheit: bool) -> None:
    thermometer = Thermometer(air.link, 33, "TH-1", fahrenheit=fahrenheit)
    async with a_device_rig(air, tmp_path, thermometer) as rig:
        await thermometer.measure(Measurements(temp_corp=38.0))
        reading = await rig.reading()
        assert reading.measurements == Measurements(temp_corp=38.0)
        assert reading.signal is not None
        assert reading.signal.site == "ear"
        assert rig.counters.alerts == {"CRITICAL_TEMPERATURE": 1}


async def test_device_that_rarely_measures_does_not_count_as_silent(
    air: Air, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(standard_session, "_PROBE_S", 0.1)
    thermometer = Thermometer(air.link, 33, "TH-1")
    async with a_device_rig(air, tmp_path, thermometer) as rig:
        before = rig.state.links["dev-1"].heard
        await eventually(lambda: rig.state.links["dev-1"].heard != before)
        assert rig.state.links["dev-1"].state == "live"


async def test_two_measurements_with_the_same_time_of_a_stopped_clock_are_two_readings(
    air: Air, tmp_path: Path
) -> None:
    thermometer = Thermometer(air.link, 33, "TH-1", now=lambda: datetime(2000, 1, 1, tzinfo=UTC))
    async with a_device_rig(air, tmp_path, thermometer) as rig:
        await thermometer.measure(Measurements(temp_corp=38.5))
        first = await rig.reading()
        await thermometer.measure(Measurements(temp_corp=38.5))
        second = await rig.reading()
    assert first.message_id != second.message_id
    assert first.device_time == second.device_time == datetime(2000, 1, 1, tzinfo=UTC)
    assert datetime.now(UTC) - first.timestamp < timedelta(minutes=1)


async def test_device_without_battery_service_does_not_count_as_silent(
    air: Air, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Plain(RadioDevice):
        def __init__(self) -> None:
            super().__init__(air.link, 35, "Plain", UUID.from_16_bits(0x1809))
            location = Characteristic[bytes]("2A1D", Property.READ, Permission.READABLE, b"\x06")
            self.add_services([Service(UUID.from_16_bits(0x1809), [indicated("2A1C"), location])])

    monkeypatch.setattr(standard_session, "_PROBE_S", 0.1)
    async with a_device_rig(air, tmp_path, Plain()) as rig:
        before = rig.state.links["dev-1"].heard
        await eventually(lambda: rig.state.links["dev-1"].heard != before)
        assert rig.state.links["dev-1"].battery_pct is None


async def test_listed_device_without_vitals_has_that_reason(air: Air, tmp_path: Path) -> None:
    class Keyboard(StandardDevice):
        async def measure(self, values: Measurements | None) -> None:
            """Do nothing."""

    keyboard = Keyboard(air.link, 34, "KB-1", 0x1809, [])
    await keyboard.start()
    state = GatewayState("gw")
    with Outbox(tmp_path / "outbox.sqlite3") as outbox:
        source = BleSource(BleConfig(), {"dev-1": "p"}, {"dev-1": keyboard.address}, outbox, state)
        running = asyncio.create_task(source.run())
        try:
            await eventually(
                lambda: (
                    "dev-1" in state.links and state.links["dev-1"].reason == "it offers none of the vitals"
                )
            )
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            await keyboard.stop()


@pytest.mark.parametrize(
    ("own", "clock_not_set", "expected"),
    [
        (NOW - timedelta(days=30), False, NOW - timedelta(days=30)),
        (NOW - timedelta(days=32), False, NOW),
        (NOW + timedelta(minutes=4), False, NOW),
        (NOW + timedelta(minutes=6), False, NOW),
        (NOW - timedelta(hours=1), True, NOW),
    ],
)
def test_spot_check_is_dated_by_its_clock_if_plausible(
    own: datetime, clock_not_set: bool, expected: datetime
) -> None:
    sent = SpotCheckMeasurement(Oximetry(97, 72), DateTime.of(own), clock_not_set=clock_not_set)
    assert of_spot_check(bytes(sent)).moment(NOW) == expected


def test_questionable_value_is_kept_and_invalid_one_is_not() -> None:
    def observed(status: MeasurementStatus) -> Measurements | None:
        sent = SpotCheckMeasurement(Oximetry(85, 72), condition=MeasurementCondition(status))
        return of_spot_check(bytes(sent)).measurements

    assert observed(MeasurementStatus.QUESTIONABLE) == Measurements(spo2_pct=85, freq_card=72)
    assert observed(MeasurementStatus.INVALID) is None
    assert observed(MeasurementStatus.UNAVAILABLE) is None


def test_heart_rate_zero_is_kept_unless_there_is_no_skin_contact() -> None:
    assert of_heart_rate(b"\x00\x00").measurements == Measurements(freq_card=0)
    assert of_heart_rate(b"\x06\x00").measurements == Measurements(freq_card=0)
    assert of_heart_rate(b"\x04\x00").measurements is None


def test_temperature_that_is_not_a_number_is_no_value() -> None:
    assert of_temperature(bytes(Temperature(None))).measurements is None
