"""Bumble's virtual controller and link, extended to behave like real hardware.

Bumble 0.0.236 lacks what a real controller does and a gateway depends on:

1. cancelling a pending connection does nothing: a connect that times out would leave the radio stuck;
2. scan responses repeat the advertising data;
3. a link cannot be lost: connections end only by disconnection;
4. ACL data is sent under the controller's random address, whatever address the connection was made with;
5. the plain connection-complete event is sent even if the host enabled the enhanced one;
6. a reset keeps connections and scans, so that the next host would inherit those of a crashed one.
"""

from __future__ import annotations

import asyncio

from bumble import hci, ll
from bumble.controller import Connection, Controller
from bumble.core import PhysicalTransport
from bumble.device import Connection as DeviceConnection
from bumble.device import Device
from bumble.host import Host
from bumble.link import LocalLink
from bumble.pairing import PairingConfig
from bumble.transport.common import AsyncPipeSink

_ENHANCED_CONNECTION_COMPLETE = 1 << 9
"""Its bit in the LE event mask (Bluetooth Core 5.4, Vol 4 Part E, 7.8.1)."""
_Report = hci.HCI_LE_Extended_Advertising_Report_Event


class VirtualController(Controller):
    """The controller of one simulated radio."""

    link: VirtualLink
    max_links = 64
    """Most connections at once; a cheap adapter supports 5 to 7."""
    _connect_requested_s = 0.0

    def on_hci_le_create_connection_cancel_command(
        self, _command: hci.HCI_LE_Create_Connection_Cancel_Command
    ) -> hci.HCI_StatusReturnParameters:
        """Cancel the pending connection; report it with a failed connection-complete event."""
        pending, self.pending_le_connection = self.pending_le_connection, None
        if pending is None:
            return hci.HCI_StatusReturnParameters(hci.HCI_ErrorCode.COMMAND_DISALLOWED_ERROR)
        cancelled = hci.HCI_LE_Connection_Complete_Event(
            status=hci.HCI_ErrorCode.UNKNOWN_CONNECTION_IDENTIFIER_ERROR,
            connection_handle=0,
            role=hci.Role.CENTRAL,
            peer_address_type=hci.AddressType(pending.peer_address.address_type),
            peer_address=pending.peer_address,
            connection_interval=0,
            peripheral_latency=0,
            supervision_timeout=0,
            central_clock_accuracy=0,
        )
        asyncio.get_running_loop().call_soon(self.send_hci_packet, cancelled)
        return hci.HCI_StatusReturnParameters(hci.HCI_ErrorCode.SUCCESS)

    def on_hci_reset_command(self, command: hci.HCI_Reset_Command) -> hci.HCI_StatusReturnParameters:
        """Drop the last host's connections, scan and advertising, then reset."""
        self.stop_radio()
        return super().on_hci_reset_command(command)

    def send_hci_packet(self, packet: hci.HCI_Packet) -> None:
        """Send one packet to the host, with the connection event that the host enabled."""
        if isinstance(packet, hci.HCI_LE_Connection_Complete_Event) and self._wants_enhanced_events:
            packet = _enhanced(packet)
        if isinstance(packet, _Report):
            report = packet.reports[0]
            if report.event_type == _Report.EventType.SCAN_RESPONSE:
                if not (data := self.link.scan_response_of(report.address)):
                    return
                report.data = data
                packet = _Report([report])
        super().send_hci_packet(packet)

    def on_hci_le_create_connection_command(self, command: hci.HCI_LE_Create_Connection_Command) -> None:
        """Start to connect, or refuse if all links are in use."""
        if self._has_free_link(command):
            super().on_hci_le_create_connection_command(command)

    def on_hci_le_extended_create_connection_command(
        self, command: hci.HCI_LE_Extended_Create_Connection_Command
    ) -> None:
        """Start to connect, or refuse if all links are in use."""
        if self._has_free_link(command):
            super().on_hci_le_extended_create_connection_command(command)

    def _has_free_link(self, command: hci.HCI_Command) -> bool:
        self._connect_requested_s = asyncio.get_running_loop().time()
        if len(self.le_connections) < self.max_links:
            return True
        refused = hci.HCI_Command_Status_Event(
            status=hci.HCI_ErrorCode.CONNECTION_LIMIT_EXCEEDED_ERROR,
            num_hci_command_packets=1,
            command_opcode=command.op_code,
        )
        self.send_hci_packet(refused)
        return False

    def create_le_connection(self, peer_address: hci.Address) -> None:
        """Connect to an advertising peer, or wait for its next advertisement while the link delays it."""
        waited = asyncio.get_running_loop().time() - self._connect_requested_s
        if waited >= self.link.connect_delay_s.get(self.link.find_le_controller(peer_address), 0.0):
            super().create_le_connection(peer_address)

    @property
    def needs_advertisements(self) -> bool:
        """Whether it is scanning or waiting for a peer to connect to."""
        return self.le_scan_enable or self.pending_le_connection is not None

    @property
    def _wants_enhanced_events(self) -> bool:
        return bool(self.le_event_mask & _ENHANCED_CONNECTION_COMPLETE)

    def lose_links(self) -> None:
        """Lose all links: both ends report a supervision timeout."""
        for connection in list(self.le_connections.values()):
            self.lose(connection)

    def lose(self, connection: Connection) -> None:
        """Lose one link: both ends report a supervision timeout."""
        reason = hci.HCI_ErrorCode.CONNECTION_TIMEOUT_ERROR
        peer = self.link.find_le_controller(connection.peer_address)
        self.on_le_disconnected(connection, reason)
        if peer and (other_end := peer.le_connections.get(connection.self_address)):
            peer.on_le_disconnected(other_end, reason)

    def stop_radio(self) -> None:
        """Lose all links and stop scanning, connecting and advertising, as on loss of power."""
        self.lose_links()
        self.pending_le_connection = None
        self.le_scan_enable = False
        self.le_legacy_advertiser.stop()
        for advertising in self.advertising_sets.values():
            advertising.stop()
        self.advertising_sets.clear()


class VirtualLink(LocalLink):
    """The radio link between the simulated radios of one process."""

    controllers: set[Controller]

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._muted: set[Controller] = set()
        self.connect_delay_s: dict[Controller | None, float] = {}
        """Seconds until a connection to a radio is made; infinite never connects."""

    def mute(self, controller: Controller) -> None:
        """Silently drop all data from and to a radio: its peers get no disconnection."""
        self._muted.add(controller)

    def is_muted(self, controller: Controller) -> bool:
        """Return whether a radio's data is being dropped."""
        return controller in self._muted

    def unmute(self, controller: Controller) -> None:
        """Stop dropping data; the radio loses its connections, while its peers may still keep theirs."""
        self._muted.discard(controller)
        for connection in list(controller.le_connections.values()):
            controller.on_le_disconnected(connection, hci.HCI_ErrorCode.CONNECTION_TIMEOUT_ERROR)

    def send_acl_data(
        self,
        sender_controller: Controller,
        destination_address: hci.Address,
        transport: PhysicalTransport,
        data: bytes,
    ) -> None:
        """Deliver data under the address of its connection; lose the link if the peer has none."""
        if transport != PhysicalTransport.LE:
            super().send_acl_data(sender_controller, destination_address, transport, data)
            return
        connection = sender_controller.le_connections.get(destination_address)
        if connection is None or self._is_mute(sender_controller, destination_address):
            return
        receiver = self.find_le_controller(destination_address)
        if receiver is None or connection.self_address not in receiver.le_connections:
            # The connection request may still be on its way to the peer: check again after it was delivered.
            asyncio.get_running_loop().call_soon(self._deliver, sender_controller, connection, data)
            return
        asyncio.get_running_loop().call_soon(
            receiver.on_link_acl_data, connection.self_address, transport, data
        )

    def _is_mute(self, sender: Controller, destination: hci.Address) -> bool:
        return sender in self._muted or self.find_le_controller(destination) in self._muted

    def _deliver(self, sender: Controller, connection: Connection, data: bytes) -> None:
        receiver = self.find_le_controller(connection.peer_address)
        if receiver and connection.self_address in receiver.le_connections:
            receiver.on_link_acl_data(connection.self_address, PhysicalTransport.LE, data)
        elif sender.le_connections.get(connection.peer_address) is connection:
            sender.on_le_disconnected(connection, hci.HCI_ErrorCode.CONNECTION_TIMEOUT_ERROR)

    def send_advertising_pdu(self, sender_controller: Controller, packet: ll.AdvertisingPdu) -> None:
        """Deliver advertisements to scanning radios, and connection requests to advertising ones."""
        loop = asyncio.get_running_loop()
        for controller in self.controllers - {sender_controller}:
            receives = (
                controller.is_advertising
                if isinstance(packet, ll.ConnectInd)
                else not isinstance(controller, VirtualController) or controller.needs_advertisements
            )
            if receives:
                loop.call_soon(controller.on_ll_advertising_pdu, packet)

    def scan_response_of(self, address: hci.Address) -> bytes:
        """Return the scan response of the advertiser with this address; empty if there is none."""
        for controller in self.controllers:
            for advertising in controller.advertising_sets.values():
                if advertising.address == address:
                    return bytes(advertising.scan_response_data)
        return b""

    def device(self, name: str, number: int) -> tuple[Device, VirtualController]:
        """Create a radio on this link with Bumble's host on top; it is not powered on.

        Args:
            name: name for logs.
            number: 0 to 65535, unique on this link, part of its addresses.
        """
        octets = f"{number >> 8:02X}:{number & 0xFF:02X}"
        controller = VirtualController(name, link=self, public_address=f"00:1B:DC:4B:{octets}")
        host = Host(controller, AsyncPipeSink(controller))
        device = Device(name=name, address=hci.Address(f"F0:1B:DC:4B:{octets}"), host=host)
        device.pairing_config_factory = just_works_pairing
        return device, controller


def just_works_pairing(_connection: DeviceConnection) -> PairingConfig:
    """Configure LE Secure Connections without input or output; the identity is the random address."""
    return PairingConfig(sc=True, mitm=False, identity_address_type=PairingConfig.AddressType.RANDOM)


def _enhanced(
    plain: hci.HCI_LE_Connection_Complete_Event,
) -> hci.HCI_LE_Enhanced_Connection_Complete_Event:
    return hci.HCI_LE_Enhanced_Connection_Complete_Event(
        status=plain.status,
        connection_handle=plain.connection_handle,
        role=plain.role,
        peer_address_type=plain.peer_address_type,
        peer_address=plain.peer_address,
        local_resolvable_private_address=hci.Address.ANY,
        peer_resolvable_private_address=hci.Address.ANY,
        connection_interval=plain.connection_interval,
        peripheral_latency=plain.peripheral_latency,
        supervision_timeout=plain.supervision_timeout,
        central_clock_accuracy=plain.central_clock_accuracy,
    )
