"""The bracelet's Bluetooth side: a GATT server (Bumble) on top of the firmware's state.

Services: Kidjamo's own (live and stored records, status, record access), battery, device information. Stored
records go out at the pace of a real link, four packets per 15 ms connection interval: the virtual air has no
bandwidth limit, and Linux drops what overflows its socket.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

from bumble import att, hci
from bumble.core import UUID, AdvertisingData, BaseBumbleError
from bumble.device import Connection
from bumble.gatt import (
    GATT_BATTERY_LEVEL_CHARACTERISTIC,
    GATT_BATTERY_SERVICE,
    Characteristic,
    CharacteristicValue,
    Service,
)
from bumble.profiles.device_information_service import DeviceInformationService

from firmware_sim.bracelet import Bracelet
from firmware_sim.timeline import milliseconds, moment
from firmware_sim.virtual_radio import VirtualLink
from vitals.errors import MalformedRecord
from vitals.gatt import current_time
from vitals.gatt.bracelet import LIVE_RECORD, RECORD_ACCESS, SERVICE, STATUS, STORED_RECORD, BraceletRecord
from vitals.gatt.current_time import CurrentTime
from vitals.gatt.record_access import Count, OpCode, Outcome, Request, Response

log = logging.getLogger(__name__)

ADVERTISING_INTERVAL_MS = 100.0
PACKETS_PER_INTERVAL = 4
CONNECTION_INTERVAL_S = 0.015
_DATA_FIELD_IGNORED = 0x80
"""Application error of the Current Time Service."""
_FLAGS = (AdvertisingData.FLAGS, bytes([0x06]))  # general discoverable, LE only
_OWN_SERVICE = (AdvertisingData.COMPLETE_LIST_OF_128_BIT_SERVICE_CLASS_UUIDS, bytes(UUID(SERVICE)))

_Property, _Permission = Characteristic.Properties, Characteristic.Permissions


class Peripheral:
    """One bracelet on the air.

    Args:
        link: the air.
        number: unique on this air, part of the address.
        bracelet: the firmware's state.
        now_ms: the true time, milliseconds since 1970 UTC.
        mtu: largest ATT packet it takes.
    """

    def __init__(
        self, link: VirtualLink, number: int, bracelet: Bracelet, now_ms: Callable[[], int], *, mtu: int = 247
    ) -> None:
        self.bracelet, self._link, self._now_ms = bracelet, link, now_ms
        self._connection: Connection | None = None
        self._report: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._last_told: tuple[int, int] | None = None
        self.name = f"Kidjamo-{bracelet.device_id}"
        self._device, self.controller = link.device(self.name, number)
        self._device.gatt_server.max_mtu = mtu
        self._live = Characteristic[bytes](LIVE_RECORD, _Property.NOTIFY, _Permission(0))
        self._stored = Characteristic[bytes](STORED_RECORD, _Property.NOTIFY, _Permission(0))
        self._status = _readable(STATUS, lambda: bytes(bracelet.status(now_ms())))
        self._access = Characteristic[bytes](
            RECORD_ACCESS,
            _Property.WRITE | _Property.INDICATE,
            _Permission.WRITEABLE,
            CharacteristicValue(write=self._on_request),
        )
        self._battery = _readable(
            GATT_BATTERY_LEVEL_CHARACTERISTIC, lambda: bytes([bracelet.battery_pct(now_ms())])
        )
        self._clock = Characteristic[bytes](
            UUID(current_time.CURRENT_TIME),
            _Property.READ | _Property.WRITE,
            _Permission.READABLE | _Permission.WRITEABLE,
            CharacteristicValue(read=self._tell_time, write=self._set_clock),
        )
        self._device.add_services(
            [
                Service(SERVICE, [self._live, self._stored, self._status, self._access]),
                Service(GATT_BATTERY_SERVICE, [self._battery]),
                Service(UUID(current_time.SERVICE), [self._clock]),
                DeviceInformationService(
                    "Kidjamo", "simulated", bracelet.device_id, firmware_revision="1.0.0"
                ),
            ]
        )
        self._device.on("connection", self._on_connection)
        self._visible, self._advertising = False, asyncio.Lock()

    @property
    def connected(self) -> bool:
        """Whether a gateway holds a connection."""
        return self._connection is not None

    async def start(self) -> None:
        """Switch the radio on and advertise."""
        await self._device.power_on()
        await self.advertise()

    async def stop(self) -> None:
        """Leave the air."""
        await self.hide()
        await self.disconnect()
        self.controller.fall_silent()
        self._link.remove_controller(self.controller)

    async def advertise(self) -> None:
        """Be found, except while connected; advertising comes back by itself after a connection."""
        self._visible = True
        await self._update_advertising()

    async def hide(self) -> None:
        """Stop advertising, as out of range."""
        self._visible = False
        await self._update_advertising()

    async def _update_advertising(self) -> None:
        """Advertise or not: own service in the advertisement, name in the scan response (31 bytes each)."""
        async with self._advertising:
            if not self._visible:
                await self._device.stop_advertising()
            elif not self._connection:
                await self._device.start_advertising(
                    advertising_data=bytes(AdvertisingData([_FLAGS, _OWN_SERVICE])),
                    scan_response_data=bytes(
                        AdvertisingData([(AdvertisingData.COMPLETE_LOCAL_NAME, self.name.encode())])
                    ),
                    advertising_interval_min=ADVERTISING_INTERVAL_MS,
                    advertising_interval_max=ADVERTISING_INTERVAL_MS,
                )

    async def disconnect(self) -> None:
        """End the connection by agreement."""
        if self._connection:
            with suppress(BaseBumbleError, hci.HCI_Error):
                await self._connection.disconnect()

    async def publish(self, record: BraceletRecord) -> None:
        """Notify a fresh record, and the status where it has changed, to whoever has subscribed."""
        await self.send_live(bytes(record))
        status = self.bracelet.status(self._now_ms())
        if self._last_told != (told := (status.flags, status.battery_pct)):
            self._last_told = told
            await self._notify(self._status, bytes(status))
            await self._notify(self._battery, bytes([status.battery_pct]))

    async def send_live(self, value: bytes) -> None:
        """Notify bytes as a live record, whatever they are."""
        await self._notify(self._live, value)

    async def _notify(self, characteristic: Characteristic[bytes], value: bytes) -> None:
        if connection := self._connection:
            await self._device.notify_subscriber(connection, characteristic, value)

    async def _answer(self, answer: Count | Response) -> None:
        """Indicate; a gateway that is gone or does not confirm gets no second try."""
        if connection := self._connection:
            try:
                await self._device.indicate_subscriber(connection, self._access, bytes(answer))
            except (TimeoutError, BaseBumbleError) as error:
                log.info("%s: record access answer not confirmed: %s", self.bracelet.device_id, error)

    def _on_connection(self, connection: Connection) -> None:
        self._connection = connection
        connection.on("disconnection", self._on_disconnection)

    def _on_disconnection(self, _reason: int) -> None:
        self._connection = None
        self._stop_report()
        self._later(self._update_advertising())

    def _on_request(self, connection: Connection, value: bytes) -> None:
        """Take one record access request; what follows is indicated after the write was answered."""
        if not self._indicates(connection):
            raise att.ATT_Error(att.ErrorCode.CCCD_IMPROPERLY_CONFIGURED)
        try:
            request = Request.from_bytes(value)
        except MalformedRecord:
            if value[:1] not in _OP_CODES:
                raise att.ATT_Error(att.ErrorCode.VALUE_NOT_ALLOWED) from None
            self._later(self._answer(Response(OpCode(value[0]), Outcome.NOT_SUPPORTED)))
            return
        if request.op_code is OpCode.REPORT:
            if self._report and not self._report.done():
                raise att.ATT_Error(att.ErrorCode.PROCEDURE_ALREADY_IN_PROGRESS)
            self._report = self._later(self._send_stored(request.seq or 0))
        else:
            self._later(self._answer(self._carry_out(request)))

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
                return Response(OpCode.DELETE, Outcome.SUCCESS if freed else Outcome.NO_RECORDS)
            case OpCode.ABORT:
                self._stop_report()
                return Response(OpCode.ABORT, Outcome.SUCCESS)
        return Response(request.op_code, Outcome.NOT_SUPPORTED)

    async def _send_stored(self, seq: int) -> None:
        sent = 0
        for record in self.bracelet.stored_from(seq):
            await self._notify(self._stored, record)
            sent += 1
            if sent % PACKETS_PER_INTERVAL == 0:
                await asyncio.sleep(CONNECTION_INTERVAL_S)
        await self._answer(Response(OpCode.REPORT, Outcome.SUCCESS if sent else Outcome.NO_RECORDS))

    def _indicates(self, connection: Connection) -> bool:
        flags = self._device.gatt_server.read_cccd(connection, self._access)
        return bool(flags[0] & 0x02)

    def _stop_report(self) -> None:
        if self._report:
            self._report.cancel()
            self._report = None

    def _later(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


_OP_CODES = frozenset(bytes([code]) for code in OpCode)


def _readable(uuid: str | UUID, value: Callable[[], bytes]) -> Characteristic[bytes]:
    return Characteristic[bytes](
        uuid,
        _Property.READ | _Property.NOTIFY,
        _Permission.READABLE,
        CharacteristicValue(read=lambda _connection: value()),
    )
