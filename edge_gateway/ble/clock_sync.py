"""Keeps the clock of one connected bracelet right, and remembers what it stamped before."""

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
    """Where it is noted when a bracelet's clock was set."""

    async def clock_eras(self, device_id: str) -> tuple[ClockEra, ...]:
        """Times at which its clock was set, oldest first."""

    async def add_clock_era(self, device_id: str, era: ClockEra) -> None:
        """Note that its clock is being set."""


class ClockSync:
    """The clock of one bracelet, for the length of a connection.

    Attributes:
        clock: what is known of it; from the first `look` on.
    """

    def __init__(self, device_id: str, peripheral: Peripheral, store: EraStore, state: GatewayState) -> None:
        self._device_id, self._peripheral, self._store, self._state = device_id, peripheral, store, state
        self._eras: tuple[ClockEra, ...] = ()
        self._settable, self._doubted, self._left_because = True, False, ""
        self.clock: BraceletClock

    async def look(self) -> BraceletStatus:
        """Read the bracelet's status, and set its clock where that is needed.

        Raises:
            MalformedRecord: its status cannot be understood.
            LinkLost, RequestRefused: it does not tell its status.
        """
        self._eras = await self._store.clock_eras(self._device_id)
        status = await self._read_status()
        return await self._set() if self._must_set else status

    async def keep_right(self) -> None:
        """Look again where there is reason to.

        Raises:
            MalformedRecord, LinkLost, RequestRefused: as for `look`.
        """
        if self._doubted:
            self._doubted = False
            await self._read_status()
        if self._must_set:
            await self._set()

    def note(self, data: bytes, arrived: datetime) -> BraceletStatus:
        """Take a status.

        Raises:
            MalformedRecord: it cannot be understood.
        """
        status = BraceletStatus.from_bytes(data)
        self.clock = BraceletClock(status, arrived, self._eras)
        self._state.battery(self._device_id, "ble", status.battery_pct)
        return status

    def doubts(self, record: BraceletRecord) -> bool:
        """Whether a record that just came live shows that the clock was changed while the link held.

        Raises:
            OverflowError: its time lies beyond the calendar.
        """
        self._doubted = self._settable and self.clock.contradicts(record, datetime.now(UTC))
        return self._doubted

    @property
    def _must_set(self) -> bool:
        if not (self._settable and self.clock.needs_setting):
            return False
        if self.clock.is_set and is_synchronised() is False:  # it may know the time better than we do
            self._leave("this gateway's own clock is not synchronised")
            return False
        return True

    def _leave(self, why: str) -> None:
        """The clock stays as it is for now; said once a connection."""
        if why != self._left_because:
            self._left_because = why
            off = f"{described(self.clock.offset_ms)} of the gateway's" if self.clock.is_set else "not set"
            self._state.notice(
                self._device_id, "ble", f"its clock is {off} and is left so, times are corrected: {why}"
            )

    async def _read_status(self) -> BraceletStatus:
        asked = datetime.now(UTC)
        data = await self._peripheral.read(STATUS)
        return self.note(data, asked + (datetime.now(UTC) - asked) / 2)

    async def _set(self) -> BraceletStatus:
        """Set the clock; noted first, so that what it stamped before can be dated while it is kept."""
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
        self._tell(before)
        return status

    def _tell(self, before: BraceletClock) -> None:
        fault = f"its clock was {described(before.offset_ms)}" if before.is_set else "its clock was not set"
        outcome = "it is set now" if self._settable else "it cannot be set, times are corrected"
        self._state.notice(self._device_id, "ble", f"{fault}: {outcome}")
        if not self._settable and not before.is_set:
            self._state.absence(self._device_id, "ble", Absence.CLOCK_UNSET)
