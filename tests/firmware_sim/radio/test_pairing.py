"""Pairing, bonds and encrypted links of bracelets, through bleak and Bumble."""

from __future__ import annotations

import asyncio

import pytest
from bleak import BleakClient
from bleak.exc import BleakError
from bumble import att
from bumble.core import UUID
from bumble.device import Peer

from tests.firmware_sim.air import Air, ReceivedValues, calm, find, now_ms, until
from vitals.gatt.bracelet import LIVE_RECORD


async def test_pairing_encrypts(air: Air) -> None:
    await air.add()
    async with BleakClient(await find(), pair=True) as client:
        assert client.is_connected
        (connection,) = air.gateway.connections.values()
        assert connection.is_encrypted
        await client.unpair()
        assert not client.is_connected


async def test_secure_bracelet_refuses_unencrypted_subscriptions(air: Air) -> None:
    bracelet = await air.add(secure=True)
    await find()
    connection = await air.gateway.connect_le(bracelet.address)
    peer, heard = Peer(connection), ReceivedValues()
    await peer.discover_services()
    await peer.discover_characteristics()
    (live,) = peer.get_characteristics_by_uuid(UUID(LIVE_RECORD))
    with pytest.raises(att.ATT_Error) as refused:
        await peer.subscribe(live, lambda value: heard.values.append(value))
    assert refused.value.error_code == att.ErrorCode.INSUFFICIENT_ENCRYPTION
    await bracelet.publish(bracelet.bracelet.measure(calm(), now_ms()))
    await asyncio.sleep(0.1)
    assert heard.values == []
    await connection.disconnect()


async def test_secure_bracelet_notifies_a_paired_central(air: Air) -> None:
    bracelet = await air.add(secure=True)
    live = ReceivedValues()
    async with BleakClient(await find()) as client:
        assert not bracelet.secured
        await client.start_notify(
            LIVE_RECORD, live
        )  # pairs by itself, like BlueZ, because the device requires it
        (connection,) = air.gateway.connections.values()
        assert (connection.is_encrypted, connection.sc, bracelet.secured) == (True, True, True)
        await bracelet.publish(bracelet.bracelet.measure(calm(), now_ms()))
        await until(lambda: live.seqs == [0])


async def test_bond_encrypts_connections_until_it_is_deleted(air: Air) -> None:
    await air.add(secure=True)
    async with BleakClient(await find(), pair=True):
        pass
    async with BleakClient(await find()) as client:
        (connection,) = air.gateway.connections.values()
        assert connection.is_encrypted
        await client.unpair()
    async with BleakClient(await find()):
        (connection,) = air.gateway.connections.values()
        assert not connection.is_encrypted


async def test_stale_bond_fails_the_connection(air: Air) -> None:
    bracelet = await air.add(secure=True)
    async with BleakClient(await find(), pair=True):
        pass
    await bracelet.forget_bonds()
    with pytest.raises(BleakError, match="PIN_OR_KEY_MISSING"):
        await BleakClient(await find()).connect()
