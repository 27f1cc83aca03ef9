"""A socket at which another process plugs its Bluetooth stack into a simulated radio (HCI, H4 framing).

One host at a time. A connection counts as a host once it has sent something, so that a probe which only looks
whether the port is open disturbs nobody. When the host goes away, its radio goes silent.
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
    """The controller's end of the socket: a packet source and sink as Bumble knows them."""

    def __init__(self) -> None:
        self.on_host_gone: Callable[[], None] = lambda: None
        self._sink: TransportSink | None = None
        self._host: asyncio.WriteTransport | None = None

    @property
    def has_host(self) -> bool:
        """Whether a host is plugged in."""
        return self._host is not None

    def set_packet_sink(self, sink: TransportSink) -> None:
        """Where packets of the host go (Bumble's source interface)."""
        self._sink = sink

    def on_packet(self, packet: bytes) -> None:
        """Send one packet to the host, if there is one (Bumble's sink interface)."""
        if self._host:
            self._host.write(packet)

    def new_parser(self) -> PacketParser:
        """Framing of one connection."""
        return PacketParser(self._sink)

    def plug_in(self, host: asyncio.WriteTransport) -> bool:
        """Take this connection as the host; refused while another one is."""
        if self._host not in (None, host):
            return False
        self._host = host
        return True

    def close(self) -> None:
        """Throw the host out."""
        if self._host:
            self._host.abort()
            self.unplug(self._host)

    def unplug(self, host: asyncio.WriteTransport) -> None:
        """The connection is gone."""
        if self._host is host:
            self._host = None
            log.info("the gateway left the HCI port: its radio is silent")
            self.on_host_gone()


class _HostConnection(asyncio.Protocol):
    def __init__(self, port: HciPort) -> None:
        self._port, self._parser = port, port.new_parser()
        self._transport: asyncio.WriteTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        assert self._transport is not None
        if not self._port.plug_in(self._transport):
            log.warning("a second gateway tried the HCI port: refused")
            self._transport.abort()
            return
        try:
            self._parser.feed_data(data)
        except InvalidPacketError as error:
            log.warning("what came in at the HCI port is not HCI (%s): connection closed", error)
            self._transport.abort()

    def connection_lost(self, _error: Exception | None) -> None:
        if self._transport:
            self._port.unplug(self._transport)


@asynccontextmanager
async def gateway_radio(link: VirtualLink, spec: str) -> AsyncIterator[VirtualController]:
    """A radio on the air whose host is another process.

    Args:
        link: the air.
        spec: where it plugs in: `tcp-server:<address>:<port>` or `unix-server:<path>`.

    Raises:
        PortBusy: somebody else listens there.
        UnknownTransport: not one of the two.
    """
    port = HciPort()
    controller = VirtualController(
        "gateway", host_source=port, host_sink=port, link=link, public_address="00:1B:DC:4A:00:01"
    )
    port.on_host_gone = controller.fall_silent
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
                f"HCI port {place} is in use: another simulator may still run; stop it, or choose another "
                "port with --hci and the same in the gateway's [ble] radio"
            ) from error
        raise UnknownTransport(f"HCI port {place}: {error.strerror or error}") from error
    raise UnknownTransport(f"{spec}: expected tcp-server:<address>:<port> or unix-server:<path>")


def _port_number(spec: str, text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) < 65536:
        raise UnknownTransport(
            f"{spec}: {text or 'nothing'} is no port, expected tcp-server:<address>:<port>"
        )
    return int(text)
