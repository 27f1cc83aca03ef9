"""Sets the clock of a connected bracelet and stores the era that ends with it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Protocol

from edge_gateway.ble.clock import BraceletClock, described
from edge_gateway.ble.peripheral import Peripheral
from edge_gateway.errors import OutboxUnavailable, RequestRefused
from edge_gateway.outbox.device_queries import ClockEra
from edge_gateway.state import GatewayState
from edge_gateway.system_clock import is_synchronised
from vitals.absence import Absence
from vitals.gatt.bracelet import STATUS, BraceletRecord, BraceletStatus
from vitals.gatt.current_time import CURRENT_TIME, AdjustReason, CurrentTime


class EraStore(Protocol):
    """Stores the eras of bracelets' clocks."""

    async def clock_eras(self, device_id: str) -> tuple[ClockEra, ...]:
        """Return the eras of a bracelet's clock, oldest first."""

    async def add_clock_era(self, device_id: str, era: ClockEra) -> None:
        """Store that a bracelet's clock is being set."""


class ClockSync:
    """Keeps one bracelet's clock right during a connection.

    Attributes:
        clock: what is known of the clock; available after the first `check`.
    """

    def __init__(self, device_id: str, peripheral: Peripheral, store: EraStore, state: GatewayState) -> None:
        self._device_id, self._peripheral, self._store, self._state = device_id, peripheral, store, state
        self._eras: tuple[ClockEra, ...] = ()
        self._settable, self._must_read, self._left_because = True, False, ""
        self.clock: BraceletClock

    async def check(self) -> BraceletStatus:
        """Read the bracelet's status, and set its clock if necessary.

        Raises:
            MalformedRecord: the status cannot be parsed.
            LinkLost, RequestRefused: the status cannot be read.
        """
        self._eras = await self._store.clock_eras(self._device_id)
        status = await self._read_status()
        return await self._set() if self._must_set else status

    async def check_again(self) -> None:
        """Read the status again if a record contradicts it, and set the clock if necessary.

        Raises:
            MalformedRecord, LinkLost, RequestRefused: as for `check`.
        """
        if self._must_read:
            self._must_read = False
            await self._read_status()
        if self._must_set:
            await self._set()

    def update(self, data: bytes, arrived: datetime) -> BraceletStatus:
        """Parse a status and use it from now on.

        Raises:
            MalformedRecord: it cannot be parsed.
        """
        status = BraceletStatus.from_bytes(data)
        self.clock = BraceletClock(status, arrived, self._eras)
        self._state.battery(self._device_id, "ble", status.battery_pct)
        return status

    def contradicted_by(self, record: BraceletRecord) -> bool:
        """Return whether a live record shows that the clock was changed during the connection.

        Raises:
            OverflowError: the record's time is outside the calendar.
        """
        self._must_read = self._settable and self.clock.contradicts(record, datetime.now(UTC))
        return self._must_read

    @property
    def _must_set(self) -> bool:
        if not (self._settable and self.clock.needs_setting):
            return False
        if self.clock.is_set and is_synchronised() is False:  # the bracelet's clock may be the better one
            self._leave("this gateway's own clock is not synchronised")
            return False
        return True

    def _leave(self, why: str) -> None:
        """Leave the clock as it is for now; reported once per connection and cause."""
        if why != self._left_because:
            self._left_because = why
            off = f"{described(self.clock.offset_ms)} of the gateway's" if self.clock.is_set else "not set"
            self._state.notice(
                self._device_id, "ble", f"its clock is {off} and is left so, times are corrected: {why}"
            )

    async def _read_status(self) -> BraceletStatus:
        asked = datetime.now(UTC)
        data = await self._peripheral.read(STATUS)
        return self.update(data, asked + (datetime.now(UTC) - asked) / 2)

    async def _set(self) -> BraceletStatus:
        """Set the clock. The era is stored first, so that its records can be dated later."""
        before = self.clock
        try:
            await self._store.add_clock_era(self._device_id, before.ending_era)
        except OutboxUnavailable:
            self._leave("this cannot be noted on the disk now")
            return before.status
        self._eras = await self._store.clock_eras(self._device_id)
        now = CurrentTime.of(datetime.now(UTC), AdjustReason.EXTERNAL_REFERENCE)
        try:
            await self._peripheral.write(CURRENT_TIME, bytes(now))
            status = await self._read_status()
            self._settable = not self.clock.needs_setting
        except RequestRefused:
            self._settable = False
            status = before.status
            self.clock = BraceletClock(status, before.arrived, self._eras)
        self._report(before)
        return status

    def _report(self, before: BraceletClock) -> None:
        fault = f"its clock was {described(before.offset_ms)}" if before.is_set else "its clock was not set"
        outcome = "it is set now" if self._settable else "it cannot be set, times are corrected"
        self._state.notice(self._device_id, "ble", f"{fault}: {outcome}")
        if not self._settable and not before.is_set:
            self._state.absence(self._device_id, "ble", Absence.CLOCK_UNSET)
