"""The bracelet's GATT server (Bumble) on top of the firmware state.

Services: Kidjamo's own (live and stored records, status, record access), current time, battery, device
information. Stored records are sent at the rate of a real link, four packets per 15 ms connection interval:
the virtual link has no bandwidth limit, and Linux drops what overflows its socket.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from bumble import att
from bumble.core import UUID
from bumble.device import Connection
from bumble.gatt import (
    GATT_BATTERY_LEVEL_CHARACTERISTIC,
    GATT_BATTERY_SERVICE,
    Characteristic,
    CharacteristicValue,
    Service,
)
from bumble.profiles.device_information_service import DeviceInformationService

from firmware_sim.firmware.bracelet import Bracelet
from firmware_sim.radio.device import Permission, Property, RadioDevice, notified, readable
from firmware_sim.radio.virtual_radio import VirtualLink
from firmware_sim.timeline import milliseconds, moment
from vitals.errors import MalformedRecord
from vitals.gatt import current_time
from vitals.gatt.bracelet import LIVE_RECORD, RECORD_ACCESS, SERVICE, STATUS, STORED_RECORD, BraceletRecord
from vitals.gatt.current_time import CurrentTime
from vitals.gatt.record_access import Count, OpCode, Request, Response, ResponseCode

log = logging.getLogger(__name__)

PACKETS_PER_INTERVAL = 4
CONNECTION_INTERVAL_S = 0.015
_DATA_FIELD_IGNORED = 0x80
"""Application error code of the Current Time Service."""


class BraceletPeripheral(RadioDevice):
    """The Bluetooth interface of one bracelet.

    Args:
        link: the radio link.
        number: unique on this link, part of the address.
        bracelet: the firmware state.
        now_ms: returns the true time, milliseconds since 1970 UTC.
        mtu: largest ATT packet it accepts.
        secure: vitals are readable by centrals paired with LE Secure Connections only.
    """

    def __init__(
        self,
        link: VirtualLink,
        number: int,
        bracelet: Bracelet,
        now_ms: Callable[[], int],
        *,
        mtu: int = 247,
        secure: bool = False,
    ) -> None:
        name = f"Kidjamo-{bracelet.device_id}"
        super().__init__(link, number, name, UUID(SERVICE), mtu=mtu, secure=secure)
        writeable = Permission.WRITEABLE | (Permission.WRITE_REQUIRES_ENCRYPTION if secure else Permission(0))
        self.bracelet, self._now_ms = bracelet, now_ms
        self._report: asyncio.Task[None] | None = None
        self._last_notified: tuple[int, int] | None = None
        self._live, self._stored = notified(LIVE_RECORD), notified(STORED_RECORD)
        self._status = readable(STATUS, lambda: bytes(bracelet.status(now_ms())), secure=secure)
        self._access = Characteristic[bytes](
            RECORD_ACCESS,
            Property.WRITE | Property.INDICATE,
            writeable,
            CharacteristicValue(write=self._on_request),
        )
        self._battery = readable(
            GATT_BATTERY_LEVEL_CHARACTERISTIC, lambda: bytes([bracelet.battery_pct(now_ms())])
        )
        clock = Characteristic[bytes](
            UUID(current_time.CURRENT_TIME),
            Property.READ | Property.WRITE,
            Permission.READABLE | writeable,
            CharacteristicValue(read=self._read_clock, write=self._set_clock),
        )
        vitals = Service(SERVICE, [self._live, self._stored, self._status, self._access])
        self.add_services(
            [
                vitals,
                Service(GATT_BATTERY_SERVICE, [self._battery]),
                Service(UUID(current_time.SERVICE), [clock]),
                DeviceInformationService(
                    "Kidjamo", "simulated", bracelet.device_id, firmware_revision="1.0.0"
                ),
            ]
        )
        if secure:
            self.protect_subscriptions(vitals)

    async def publish(self, record: BraceletRecord) -> None:
        """Notify a new record, and the status if it has changed."""
        await self.send_live(bytes(record))
        status = self.bracelet.status(self._now_ms())
        if self._last_notified != (current := (status.flags, status.battery_pct)):
            self._last_notified = current
            await self.notify(self._status, bytes(status))
            await self.notify(self._battery, bytes([status.battery_pct]))

    async def send_live(self, value: bytes) -> None:
        """Notify any bytes as a live record."""
        await self.notify(self._live, value)

    async def send_status(self, value: bytes) -> None:
        """Notify any bytes as the status."""
        await self.notify(self._status, value)

    async def _indicate_response(self, response: Count | Response) -> None:
        """Indicate a response once; it is not retried if the gateway does not confirm."""
        if not await self.indicate(self._access, bytes(response)):
            log.info("%s: record access response not confirmed", self.bracelet.device_id)

    def on_link_lost(self) -> None:
        """Stop the report that is being sent."""
        self._stop_report()

    def _on_request(self, connection: Connection, value: bytes) -> None:
        """Handle one record access request; the response is indicated after the write response."""
        if not self._indicates(connection):
            raise att.ATT_Error(att.ErrorCode.CCCD_IMPROPERLY_CONFIGURED)
        try:
            request = Request.from_bytes(value)
        except MalformedRecord:
            if value[:1] not in _OP_CODES:
                raise att.ATT_Error(att.ErrorCode.VALUE_NOT_ALLOWED) from None
            self.run_in_background(
                self._indicate_response(Response(OpCode(value[0]), ResponseCode.NOT_SUPPORTED))
            )
            return
        if request.op_code is OpCode.REPORT:
            if self._report and not self._report.done():
                raise att.ATT_Error(att.ErrorCode.PROCEDURE_ALREADY_IN_PROGRESS)
            self._report = self.run_in_background(self._send_stored(request.seq or 0))
        else:
            self.run_in_background(self._indicate_response(self._execute(request)))

    def _read_clock(self, _connection: Connection) -> bytes:
        shown = self.bracelet.clock_ms(self._now_ms())
        return bytes(CurrentTime.of(moment(shown)))

    def _set_clock(self, _connection: Connection, value: bytes) -> None:
        """Set the clock; reject an invalid time (Current Time Service 1.1, section 3.1.2.1)."""
        try:
            time = CurrentTime.from_bytes(value).moment()
        except MalformedRecord:
            time = None
        if time is None:
            raise att.ATT_Error(_DATA_FIELD_IGNORED)
        self.bracelet.clock.set_to(milliseconds(time), self._now_ms())

    def _execute(self, request: Request) -> Count | Response:
        seq = request.seq or 0
        match request.op_code:
            case OpCode.REPORT_COUNT:
                return Count(self.bracelet.count_from(seq))
            case OpCode.DELETE:
                freed = self.bracelet.release_up_to(seq)
                return Response(OpCode.DELETE, ResponseCode.SUCCESS if freed else ResponseCode.NO_RECORDS)
            case OpCode.ABORT:
                self._stop_report()
                return Response(OpCode.ABORT, ResponseCode.SUCCESS)
        return Response(request.op_code, ResponseCode.NOT_SUPPORTED)

    async def _send_stored(self, seq: int) -> None:
        sent = 0
        for record in self.bracelet.stored_from(seq):
            await self.notify(self._stored, record)
            sent += 1
            if sent % PACKETS_PER_INTERVAL == 0:
                await asyncio.sleep(CONNECTION_INTERVAL_S)
        outcome = ResponseCode.SUCCESS if sent else ResponseCode.NO_RECORDS
        await self._indicate_response(Response(OpCode.REPORT, outcome))

    def _indicates(self, connection: Connection) -> bool:
        flags = self._device.gatt_server.read_cccd(connection, self._access)
        return bool(flags[0] & 0x02)

    def _stop_report(self) -> None:
        if self._report:
            self._report.cancel()
            self._report = None


_OP_CODES = frozenset(bytes([code]) for code in OpCode)
