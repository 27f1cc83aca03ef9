"""A socket that connects another process's Bluetooth stack to a simulated radio (HCI, H4 framing).

One host at a time. A connection becomes the host when it sends its first bytes, so that a port check has no
effect. When the host disconnects, its radio stops.
"""

from __future__ import annotations

import asyncio
import errno
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from bumble.core import InvalidPacketError
from bumble.transport.common import PacketParser, TransportSink

from firmware_sim.errors import HciPortBusy, UnknownTransport
from firmware_sim.radio.virtual_radio import VirtualController, VirtualLink

log = logging.getLogger(__name__)


class HciPort:
    """The controller's end of the socket: a Bumble packet source and sink."""

    def __init__(self) -> None:
        self.on_host_disconnected: Callable[[], None] = lambda: None
        self._sink: TransportSink | None = None
        self._host: asyncio.WriteTransport | None = None

    @property
    def has_host(self) -> bool:
        """Whether a host is connected."""
        return self._host is not None

    def set_packet_sink(self, sink: TransportSink) -> None:
        """Set the receiver of the host's packets (Bumble's source interface)."""
        self._sink = sink

    def on_packet(self, packet: bytes) -> None:
        """Send one packet to the host, if one is connected (Bumble's sink interface)."""
        if self._host:
            self._host.write(packet)

    def new_parser(self) -> PacketParser:
        """Return the packet parser of one connection."""
        return PacketParser(self._sink)

    def attach(self, host: asyncio.WriteTransport) -> bool:
        """Make this connection the host; return False if there is another host."""
        if self._host not in (None, host):
            return False
        self._host = host
        return True

    def close(self) -> None:
        """Disconnect the host."""
        if self._host:
            self._host.abort()
            self.detach(self._host)

    def detach(self, host: asyncio.WriteTransport) -> None:
        """Handle the end of a connection."""
        if self._host is host:
            self._host = None
            log.info("the gateway disconnected from the HCI port; its radio is stopped")
            self.on_host_disconnected()


class _HostConnection(asyncio.Protocol):
    def __init__(self, port: HciPort) -> None:
        self._port, self._parser = port, port.new_parser()
        self._transport: asyncio.WriteTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        assert self._transport is not None
        if not self._port.attach(self._transport):
            log.warning("refused a second gateway at the HCI port")
            self._transport.abort()
            return
        try:
            self._parser.feed_data(data)
        except InvalidPacketError as error:
            log.warning("received data at the HCI port that is not HCI (%s); closed the connection", error)
            self._transport.abort()

    def connection_lost(self, _error: Exception | None) -> None:
        if self._transport:
            self._port.detach(self._transport)


@asynccontextmanager
async def gateway_radio(link: VirtualLink, spec: str) -> AsyncIterator[VirtualController]:
    """Run a radio whose host is another process.

    Args:
        link: the radio link.
        spec: where to listen, `tcp-server:<address>:<port>` or `unix-server:<path>`.

    Raises:
        HciPortBusy: the port is already in use.
        UnknownTransport: the transport is neither of the two, or cannot be opened.
    """
    port = HciPort()
    controller = VirtualController(
        "gateway", host_source=port, host_sink=port, link=link, public_address="00:1B:DC:4A:00:01"
    )
    port.on_host_disconnected = controller.stop_radio
    server = await _listen(port, spec)
    try:
        yield controller
    finally:
        server.close()
        port.close()
        link.remove_controller(controller)


async def _listen(port: HciPort, spec: str) -> asyncio.Server:
    kind, _, place = spec.partition(":")
    loop = asyncio.get_running_loop()
    try:
        match kind:
            case "tcp-server":
                host, _, number = place.rpartition(":")
                return await loop.create_server(
                    lambda: _HostConnection(port), host or None, _port_number(spec, number)
                )
            case "unix-server":
                Path(place).unlink(missing_ok=True)  # noqa: ASYNC240 - once, at start
                return await loop.create_unix_server(lambda: _HostConnection(port), place)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise HciPortBusy(
                f"HCI port {place} is in use: another simulator may be running; stop it, or choose another "
                "port with --hci and set the same one in the gateway's [ble] radio"
            ) from error
        raise UnknownTransport(f"HCI port {place}: {error.strerror or error}") from error
    raise UnknownTransport(f"{spec}: expected tcp-server:<address>:<port> or unix-server:<path>")


def _port_number(spec: str, text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) < 65536:
        raise UnknownTransport(
            f"{spec}: {text or 'nothing'} is not a port, expected tcp-server:<address>:<port>"
        )
    return int(text)
