"""What our virtual controller adds to Bumble's, observed from Bumble's own host."""

from __future__ import annotations

import asyncio

from bumble import hci
from bumble.device import Connection

from firmware_sim.radio.virtual_radio import VirtualController, VirtualLink
from tests.firmware_sim.air import until


class Pair:
    """A central and an advertising peripheral."""

    def __init__(self) -> None:
        self.link = VirtualLink()
        self.central, self.central_controller = self.link.device("central", 1)
        self.peripheral, self.peripheral_controller = self.link.device("peripheral", 2)
        self.reasons: dict[str, int] = {}

    async def connect(self, own: hci.OwnAddressType = hci.OwnAddressType.RANDOM) -> Connection:
        """Power both on and connect them; record why each end loses the link."""
        self.peripheral.on("connection", lambda link: self._watch("peripheral", link))
        await self.central.power_on()
        await self.peripheral.power_on()
        await self.peripheral.start_advertising(advertising_interval_min=20, advertising_interval_max=20)
        connection = await self.central.connect_le(self.peripheral.random_address, own_address_type=own)
        self._watch("central", connection)
        return connection

    def _watch(self, end: str, connection: Connection) -> None:
        connection.on("disconnection", lambda reason: self.reasons.__setitem__(end, reason))

    async def ended(self) -> dict[str, int]:
        """Return the disconnection reason at each end."""
        await until(lambda: len(self.reasons) == 2)
        return self.reasons


async def test_link_loss_is_a_timeout_at_both_ends() -> None:
    pair = Pair()
    await pair.connect()
    pair.peripheral_controller.lose_links()
    assert await pair.ended() == {"central": 0x08, "peripheral": 0x08}


async def test_disconnect_is_terminated_by_user_at_both_ends() -> None:
    pair = Pair()
    connection = await pair.connect()
    await connection.disconnect()
    assert await pair.ended() == {"central": 0x13, "peripheral": 0x13}


async def test_reset_drops_links_and_scan() -> None:
    pair = Pair()
    await pair.connect()
    await pair.central.start_scanning()
    assert pair.central_controller.le_scan_enable
    await pair.central.host.send_sync_command(hci.HCI_Reset_Command())
    assert not pair.central_controller.le_scan_enable
    assert (await pair.ended())["peripheral"] == 0x08


async def test_data_is_sent_under_the_address_of_its_connection() -> None:
    """Like Linux, connect with the public address while the random one differs."""
    pair = Pair()
    connection = await pair.connect(hci.OwnAddressType.PUBLIC)
    mtu = await asyncio.wait_for(connection.gatt_client.request_mtu(100), 2)
    assert mtu == 100


async def test_data_to_a_removed_peer_loses_the_link() -> None:
    pair = Pair()
    connection = await pair.connect()
    pair.link.remove_controller(pair.peripheral_controller)
    connection.send_l2cap_pdu(4, b"\x02\x17\x00")
    await until(lambda: pair.reasons == {"central": 0x08})


async def test_connection_complete_has_the_form_the_host_enabled() -> None:
    for mask, expected in (
        (1 << 0, hci.HCI_LE_Connection_Complete_Event),
        (1 << 0 | 1 << 9, hci.HCI_LE_Enhanced_Connection_Complete_Event),
    ):
        assert isinstance(await _first_connection_event(mask), expected)


async def _first_connection_event(mask: int) -> hci.HCI_Packet:
    pair = Pair()
    seen: list[hci.HCI_Packet] = []

    class Listener:
        def on_packet(self, packet: bytes) -> None:
            seen.append(hci.HCI_Packet.from_bytes(packet))

    await pair.peripheral.power_on()
    await pair.peripheral.start_advertising(advertising_interval_min=20, advertising_interval_max=20)
    host = VirtualController(
        "linux", link=pair.link, public_address="00:1B:DC:4B:00:09", host_sink=Listener()
    )
    host.le_event_mask = mask
    host.pending_le_connection = hci.HCI_LE_Create_Connection_Command(
        le_scan_interval=16,
        le_scan_window=16,
        initiator_filter_policy=0,
        peer_address_type=1,
        peer_address=pair.peripheral.random_address,
        own_address_type=0,
        connection_interval_min=12,
        connection_interval_max=12,
        max_latency=0,
        supervision_timeout=72,
        min_ce_length=0,
        max_ce_length=0,
    )
    await until(lambda: seen)
    return seen[0]
