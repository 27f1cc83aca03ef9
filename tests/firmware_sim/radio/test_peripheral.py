"""The bracelet's GATT server, used through plain bleak calls."""

from __future__ import annotations

import asyncio

import pytest
from bleak import BleakClient, BleakScanner
from bleak.exc import BleakGATTProtocolError

from tests.firmware_sim.air import BOOT, Air, ReceivedValues, ask, calm, find, now_ms, until
from vitals.gatt.bracelet import (
    LIVE_RECORD,
    RECORD_ACCESS,
    SERVICE,
    STATUS,
    STORED_RECORD,
    BraceletRecord,
    BraceletStatus,
    StatusFlag,
)
from vitals.gatt.record_access import Count, OpCode, Request, Response, ResponseCode

BATTERY_LEVEL, SERIAL_NUMBER = "2a19", "2a25"


async def test_advertises_its_name_and_service(air: Air) -> None:
    await air.add()
    async with BleakScanner(service_uuids=[SERVICE]) as scanner:
        await until(
            lambda: any(a.local_name for _, a in scanner.discovered_devices_and_advertisement_data.values())
        )
        ((device, advertisement),) = scanner.discovered_devices_and_advertisement_data.values()
    assert advertisement.local_name == "Kidjamo-ble-001"
    assert advertisement.service_uuids == [SERVICE]
    assert device.name == "Kidjamo-ble-001"


async def test_reads_status_battery_and_serial_number(air: Air) -> None:
    bracelet = await air.add(stored=3)
    bracelet.bracelet.set_charge(64, now_ms())
    async with BleakClient(await find()) as client:
        status = BraceletStatus.from_bytes(bytes(await client.read_gatt_char(STATUS)))
        assert (status.boot, status.battery_pct, status.oldest_seq, status.newest_seq) == (BOOT, 64, 0, 2)
        assert status.flags == StatusFlag.CLOCK_SET | StatusFlag.WORN
        assert abs(status.clock_ms - now_ms()) < 1000
        assert await client.read_gatt_char(BATTERY_LEVEL) == bytes([64])
        assert await client.read_gatt_char(SERIAL_NUMBER) == b"ble-001"


@pytest.mark.parametrize("mtu", [23, 247])
async def test_live_records_are_notified_and_decode(air: Air, mtu: int) -> None:
    bracelet = await air.add(mtu=mtu)
    live = ReceivedValues()
    async with BleakClient(await find()) as client:
        await client.start_notify(LIVE_RECORD, live)
        sent = [bracelet.bracelet.measure(calm(number), now_ms()) for number in range(3)]
        for record in sent:
            await bracelet.publish(record)
        await until(lambda: len(live.values) == 3)
    assert [BraceletRecord.from_bytes(value) for value in live.values] == sent


async def test_status_is_notified_when_it_changes(air: Air) -> None:
    bracelet = await air.add()
    notes = ReceivedValues()
    async with BleakClient(await find()) as client:
        await client.start_notify(STATUS, notes)
        await bracelet.publish(bracelet.bracelet.measure(calm(), now_ms()))
        await bracelet.publish(bracelet.bracelet.measure(calm(), now_ms()))
        bracelet.bracelet.worn = False
        await bracelet.publish(bracelet.bracelet.measure(None, now_ms()))
        await until(lambda: len(notes.values) == 2)
    worn = [bool(BraceletStatus.from_bytes(value).flags & StatusFlag.WORN) for value in notes.values]
    assert worn == [True, False]


async def test_record_access_reports_records_missed_while_disconnected(air: Air) -> None:
    """Records taken while disconnected come from flash; with the live ones, none is missing."""
    bracelet = await air.add()
    live, stored, answers = ReceivedValues(), ReceivedValues(), ReceivedValues()

    async def measure(count: int) -> None:
        for _ in range(count):
            await bracelet.publish(bracelet.bracelet.measure(calm(), now_ms()))

    async with BleakClient(await find()) as client:
        await client.start_notify(LIVE_RECORD, live)
        await measure(5)
        await until(lambda: len(live.values) == 5)
    await measure(20)
    async with BleakClient(await find()) as client:
        await client.start_notify(LIVE_RECORD, live)
        await client.start_notify(STORED_RECORD, stored)
        await client.start_notify(RECORD_ACCESS, answers)
        await measure(2)
        assert await ask(client, Request.count_from(5), answers) == Count(22)
        outcome = await ask(client, Request.report_from(5), answers)
    assert outcome == Response(OpCode.REPORT, ResponseCode.SUCCESS)
    assert stored.seqs == list(range(5, 27))
    assert live.seqs == [0, 1, 2, 3, 4, 25, 26]


async def test_record_access_empty_flash_has_no_records(air: Air) -> None:
    await air.add()
    answers = ReceivedValues()
    async with BleakClient(await find()) as client:
        await client.start_notify(RECORD_ACCESS, answers)
        outcome = await ask(client, Request.report_from(0), answers)
    assert outcome == Response(OpCode.REPORT, ResponseCode.NO_RECORDS)


async def test_record_access_delete_releases_flash(air: Air) -> None:
    bracelet = await air.add(stored=10)
    answers = ReceivedValues()
    async with BleakClient(await find()) as client:
        await client.start_notify(RECORD_ACCESS, answers)
        freed = await ask(client, Request.release_up_to(6), answers)
        again = await ask(client, Request.release_up_to(6), answers)
        status = BraceletStatus.from_bytes(bytes(await client.read_gatt_char(STATUS)))
    assert freed == Response(OpCode.DELETE, ResponseCode.SUCCESS)
    assert again == Response(OpCode.DELETE, ResponseCode.NO_RECORDS)
    assert (status.oldest_seq, status.newest_seq, bracelet.bracelet.unreleased) == (7, 9, 3)


async def test_record_access_abort_stops_a_report(air: Air) -> None:
    await air.add(stored=2000)
    stored, answers = ReceivedValues(), ReceivedValues()
    async with BleakClient(await find()) as client:
        await client.start_notify(STORED_RECORD, stored)
        await client.start_notify(RECORD_ACCESS, answers)
        await client.write_gatt_char(RECORD_ACCESS, bytes(Request.report_from(0)), response=True)
        await until(lambda: stored.values)
        with pytest.raises(BleakGATTProtocolError, match="Already in Progress"):
            await client.write_gatt_char(RECORD_ACCESS, bytes(Request.report_from(0)), response=True)
        assert await ask(client, Request.abort(), answers) == Response(OpCode.ABORT, ResponseCode.SUCCESS)
        seen = len(stored.values)
        await asyncio.sleep(0.1)
        assert len(stored.values) == seen < 2000


async def test_record_access_report_has_the_rate_of_a_real_link(air: Air) -> None:
    await air.add(stored=200)
    stored, answers = ReceivedValues(), ReceivedValues()
    async with BleakClient(await find()) as client:
        await client.start_notify(STORED_RECORD, stored)
        await client.start_notify(RECORD_ACCESS, answers)
        started = asyncio.get_running_loop().time()
        await ask(client, Request.report_from(0), answers)
        seconds = asyncio.get_running_loop().time() - started
    assert len(stored.values) == 200
    assert seconds >= 200 / 4 * 0.015


async def test_record_access_without_indications_is_refused(air: Air) -> None:
    await air.add()
    async with BleakClient(await find()) as client:
        with pytest.raises(BleakGATTProtocolError) as refused:
            await client.write_gatt_char(RECORD_ACCESS, bytes(Request.abort()), response=True)
    assert refused.value.code == 0xFD


@pytest.mark.parametrize(("request_", "code"), [(b"\x09\x00", 0x13), (b"", 0x13)])
async def test_record_access_unknown_op_code_is_refused(air: Air, request_: bytes, code: int) -> None:
    await air.add()
    async with BleakClient(await find()) as client:
        await client.start_notify(RECORD_ACCESS, ReceivedValues())
        with pytest.raises(BleakGATTProtocolError) as refused:
            await client.write_gatt_char(RECORD_ACCESS, request_, response=True)
    assert refused.value.code == code


async def test_record_access_known_op_code_with_other_operator_is_not_supported(air: Air) -> None:
    await air.add()
    answers = ReceivedValues()
    async with BleakClient(await find()) as client:
        await client.start_notify(RECORD_ACCESS, answers)
        await client.write_gatt_char(RECORD_ACCESS, b"\x01\x01", response=True)  # report all
        await until(lambda: answers.values)
    assert answers.responses == [Response(OpCode.REPORT, ResponseCode.NOT_SUPPORTED)]
