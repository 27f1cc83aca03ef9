"""One connection to a standard device: subscribe to every vital it offers and receive measurements.

Such a device neither numbers nor stores its measurements: what is not received is lost.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from itertools import count
from uuid import UUID, uuid5

from edge_gateway.ble import missing_value
from edge_gateway.ble.assignment import DeviceAssignment
from edge_gateway.ble.malformed import malformed
from edge_gateway.ble.peripheral import Peripheral
from edge_gateway.ble.standard_records import DECODERS, StandardObservation
from edge_gateway.errors import LinkLost, RequestRefused
from edge_gateway.inbox import Inbox, InboxItem
from edge_gateway.state import GatewayState
from edge_gateway.system_clock import is_synchronised
from vitals.errors import MalformedRecord
from vitals.gatt import heart_rate, pulse_oximeter, thermometer
from vitals.gatt.current_time import CURRENT_TIME, AdjustReason, CurrentTime
from vitals.gatt.services import BATTERY_LEVEL, SERIAL_NUMBER, THERMOMETER
from vitals.gatt.services import CURRENT_TIME as CURRENT_TIME_SERVICE
from vitals.limits import BATTERY_NOTICE_UP_TO_PCT, LATE_AFTER
from vitals.reading import NAMESPACE, Reading, Signal, Source

log = logging.getLogger(__name__)

_PROBE_S = 10.0
_PROBED = (
    BATTERY_LEVEL,
    thermometer.TYPE,
    pulse_oximeter.FEATURES,
    heart_rate.SENSOR_LOCATION,
    SERIAL_NUMBER,
)
"""Characteristics that can be read at any time; a device need not have any of them."""


class StandardSession:
    """Runs one connection until it ends.

    Args:
        on_data: called for all data from the device that can be parsed.
        on_complete: called once all its vitals are subscribed to.

    Attributes:
        consecutive_malformed: pieces of data in a row that could not be parsed.
    """

    def __init__(
        self,
        assignment: DeviceAssignment,
        peripheral: Peripheral,
        inbox: Inbox,
        state: GatewayState,
        on_data: Callable[[], None],
        on_complete: Callable[[], None],
    ) -> None:
        self._assignment, self._peripheral, self._inbox, self._state = assignment, peripheral, inbox, state
        self._on_data, self._on_complete = on_data, on_complete
        self.consecutive_malformed = 0
        self._battery_pct: int | None = None
        self._site: str | None = None
        self._number = count()

    async def run(self) -> None:
        """Run until cancelled.

        Raises:
            LinkLost: the device offers no vitals, or does not answer.
        """
        await self._set_clock()
        with suppress(RequestRefused):
            self._on_battery(await self._peripheral.read(BATTERY_LEVEL))
            await self._peripheral.subscribe(BATTERY_LEVEL, self._on_battery)
        await self._read_site()
        offered = [await self._subscribe(uuid) for uuid in DECODERS]
        if not any(offered):
            raise LinkLost("it offers none of the vitals")
        self._on_data()
        self._on_complete()
        while True:
            await asyncio.sleep(_PROBE_S)
            await self._probe()

    async def _probe(self) -> None:
        """Read a characteristic: a thermometer may send nothing for hours, but answers a read."""
        for uuid in _PROBED:
            with suppress(RequestRefused):
                data = await self._peripheral.read(uuid)
                if uuid == BATTERY_LEVEL:
                    self._on_battery(data)
                self._on_data()
                return

    async def _read_site(self) -> None:
        """Read the site of a thermometer that does not send it with each measurement."""
        if THERMOMETER in self._peripheral.services:
            with suppress(RequestRefused):
                data = await self._peripheral.read(thermometer.TYPE)
                try:
                    self._site = thermometer.site_of(data).name.lower()
                except MalformedRecord as error:
                    self._add_dead_letter(data, error)

    async def _set_clock(self) -> None:
        """Set the device's clock, unless the gateway's own clock may be the worse one."""
        if CURRENT_TIME_SERVICE in self._peripheral.services:
            if is_synchronised() is False:
                self._state.notice(
                    self._assignment.device_id,
                    "ble",
                    "its clock is left: this gateway's own is not synchronised",
                )
                return
            now = CurrentTime.of(datetime.now(UTC), AdjustReason.EXTERNAL_REFERENCE)
            with suppress(RequestRefused):
                await self._peripheral.write(CURRENT_TIME, bytes(now))

    async def _subscribe(self, uuid: str) -> bool:
        """Subscribe to a characteristic. Return whether the device has it."""
        try:
            await self._peripheral.subscribe(uuid, lambda data: self._receive(uuid, data))
        except RequestRefused as error:
            log.debug("%s has no %s: %s", self._assignment.device_id, uuid, error)
            return False
        return True

    def _receive(self, uuid: str, data: bytes) -> None:
        arrived = datetime.now(UTC)
        try:
            measured = DECODERS[uuid](data)
        except MalformedRecord as error:
            self._add_dead_letter(data, error)
            return
        self.consecutive_malformed = 0
        self._on_data()
        device_id = self._assignment.device_id
        if measured.measurements is None:
            reason = missing_value.of_signal(measured.signal)
            self._state.absence(device_id, "ble", reason)
            self._state.counters.no_value[reason.value] += 1
            return
        self._state.absence(device_id, "ble", None)
        moment = measured.moment(arrived)
        self._inbox.put(
            InboxItem(
                Reading(
                    patient_id=self._assignment.patient_id,
                    device_id=device_id,
                    timestamp=moment,
                    measurements=measured.measurements,
                    message_id=self._identity(measured, data, arrived),
                    device_time=measured.own_time.moment() if measured.own_time else None,
                    source=Source.BLE,
                    late=True if arrived - moment > LATE_AFTER else None,
                    signal=self._signal(measured),
                )
            )
        )

    def _signal(self, measured: StandardObservation) -> Signal:
        """Return the signal of a measurement, completed by what applies to all measurements of the device."""
        known: dict[str, object] = {"battery_pct": self._battery_pct}
        if measured.measurements and measured.measurements.temp_corp is not None:
            known["site"] = measured.signal.site or self._site
        return measured.signal.model_copy(update=known)

    def _identity(self, measured: StandardObservation, data: bytes, arrived: datetime) -> UUID:
        """Return the same identity for a repeated measurement with a plausible time, else a new one.

        A clock that stands still gives two measurements the same time, so that time must be plausible.
        """
        dated = measured.plausible_own_time(arrived)
        mark = data.hex() if dated else f"{arrived.isoformat()}/{next(self._number)}"
        return uuid5(NAMESPACE, f"{self._assignment.device_id}/{mark}")

    def _on_battery(self, data: bytes) -> None:
        if len(data) != 1 or data[0] > 100:
            self._add_dead_letter(data, MalformedRecord("battery level", data, "not one byte up to 100"))
            return
        self._battery_pct = data[0]
        self._state.battery(self._assignment.device_id, "ble", data[0])
        if data[0] <= BATTERY_NOTICE_UP_TO_PCT:
            self._state.notice(self._assignment.device_id, "ble", f"its battery is at {data[0]} %")

    def _add_dead_letter(self, data: bytes, error: MalformedRecord) -> None:
        self.consecutive_malformed += 1
        self._inbox.put(InboxItem(malformed(self._assignment.device_id, data, error, self._state)))
