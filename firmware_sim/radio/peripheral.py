"""The bracelet's Bluetooth side: a GATT server (Bumble) on top of the firmware's state.

Services: Kidjamo's own (live and stored records, status, record access), current time, battery, device
information. Stored records go out at the pace of a real link, four packets per 15 ms connection interval: the
virtual air has no bandwidth limit, and Linux drops what overflows its socket.
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
"""Application error of the Current Time Service."""


class Peripheral(RadioDevice):
    """One bracelet on the air.

    Args:
        link: the air.
        number: unique on this air, part of the address.
        bracelet: the firmware's state.
        now_ms: the true time, milliseconds since 1970 UTC.
        mtu: largest ATT packet it takes.
        secure: vitals only for who has paired with LE Secure Connections.
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
        self._last_told: tuple[int, int] | None = None
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
            CharacteristicValue(read=self._tell_time, write=self._set_clock),
        )
        vitals = Service(SERVICE, [self._live, self._stored, self._status, self._access])
        self.offer(
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
        """Notify a fresh record, and the status where it has changed, to whoever has subscribed."""
        await self.send_live(bytes(record))
        status = self.bracelet.status(self._now_ms())
        if self._last_told != (told := (status.flags, status.battery_pct)):
            self._last_told = told
            await self.notify(self._status, bytes(status))
            await self.notify(self._battery, bytes([status.battery_pct]))

    async def send_live(self, value: bytes) -> None:
        """Notify bytes as a live record, whatever they are."""
        await self.notify(self._live, value)

    async def send_status(self, value: bytes) -> None:
        """Notify bytes as the status, whatever they are."""
        await self.notify(self._status, value)

    async def _answer(self, answer: Count | Response) -> None:
        """Indicate; a gateway that is gone or does not confirm gets no second try."""
        if not await self.indicate(self._access, bytes(answer)):
            log.info("%s: record access answer not confirmed", self.bracelet.device_id)

    def link_lost(self) -> None:
        """A report ends with its connection."""
        self._stop_report()

    def _on_request(self, connection: Connection, value: bytes) -> None:
        """Take one record access request; what follows is indicated after the write was answered."""
        if not self._indicates(connection):
            raise att.ATT_Error(att.ErrorCode.CCCD_IMPROPERLY_CONFIGURED)
        try:
            request = Request.from_bytes(value)
        except MalformedRecord:
            if value[:1] not in _OP_CODES:
                raise att.ATT_Error(att.ErrorCode.VALUE_NOT_ALLOWED) from None
            self.later(self._answer(Response(OpCode(value[0]), ResponseCode.NOT_SUPPORTED)))
            return
        if request.op_code is OpCode.REPORT:
            if self._report and not self._report.done():
                raise att.ATT_Error(att.ErrorCode.PROCEDURE_ALREADY_IN_PROGRESS)
            self._report = self.later(self._send_stored(request.seq or 0))
        else:
            self.later(self._answer(self._carry_out(request)))

    def _tell_time(self, _connection: Connection) -> bytes:
        shown = self.bracelet.clock_ms(self._now_ms())
        return bytes(CurrentTime.of(moment(shown)))

    def _set_clock(self, _connection: Connection, value: bytes) -> None:
        """Set the clock; what is no time is refused (Current Time Service 1.1, section 3.1.2.1)."""
        try:
            wanted = CurrentTime.from_bytes(value).moment()
        except MalformedRecord:
            wanted = None
        if wanted is None:
            raise att.ATT_Error(_DATA_FIELD_IGNORED)
        self.bracelet.clock.set_to(milliseconds(wanted), self._now_ms())

    def _carry_out(self, request: Request) -> Count | Response:
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
        await self._answer(Response(OpCode.REPORT, ResponseCode.SUCCESS if sent else ResponseCode.NO_RECORDS))

    def _indicates(self, connection: Connection) -> bool:
        flags = self._device.gatt_server.read_cccd(connection, self._access)
        return bool(flags[0] & 0x02)

    def _stop_report(self) -> None:
        if self._report:
            self._report.cancel()
            self._report = None


_OP_CODES = frozenset(bytes([code]) for code in OpCode)
