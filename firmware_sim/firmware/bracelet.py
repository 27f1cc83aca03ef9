"""The bracelet's firmware: flash ring, sequence numbers, clock, battery. No I/O; time is passed in.

Records carry consecutive sequence numbers. Flash holds them until the gateway releases them; when it is full,
the oldest are overwritten, as on a real device.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from vitals.gatt.bracelet import BraceletRecord, BraceletStatus, RecordFlag, StatusFlag
from vitals.reading import Measurements

FLASH_RECORDS = 262_144
"""Capacity: 5 MiB at 20 bytes per record, three days at one record per second."""
BATTERY_LIFE_MS = 5 * 24 * 3600 * 1000


@dataclass(slots=True)
class DeviceClock:
    """The bracelet's clock.

    Attributes:
        is_set: whether it has been set; an unset clock counts from the last start.
        ahead_ms: how far it was ahead of the true time when it was set.
        drift_ppm: how much too fast it runs; a cheap crystal is within ± 50.
        since_ms: true time at which the drift starts; None is the last start.
    """

    is_set: bool = True
    ahead_ms: int = 0
    drift_ppm: float = 0.0
    since_ms: int | None = None

    def time_at(self, now_ms: int, started_ms: int) -> int:
        """Return the time it shows, in milliseconds.

        Args:
            now_ms: the true time.
            started_ms: true time of the bracelet's last start.
        """
        since = started_ms if self.since_ms is None or not self.is_set else self.since_ms
        drift = round((now_ms - since) * self.drift_ppm / 1_000_000)
        return now_ms + self.ahead_ms + drift if self.is_set else now_ms - started_ms + drift

    def set_to(self, shown_ms: int, now_ms: int) -> None:
        """Set the clock to `shown_ms`; drift starts at `now_ms`."""
        self.is_set, self.ahead_ms, self.since_ms = True, shown_ms - now_ms, now_ms


class Bracelet:
    """State of one bracelet. `now_ms` is always the true time, milliseconds since 1970 UTC.

    Args:
        device_id: serial number.
        boot: restart counter, modulo 256.
        now_ms: time of the first start.
        battery_pct: charge at the first start, percent.
        flash_records: capacity of the flash ring.
        clock: its clock; by default one that is set and does not drift.

    Attributes:
        on: whether it has power; without, it neither measures nor sends.
        worn: whether the child wears it.
        overwritten: records that were overwritten before they were released.
    """

    def __init__(
        self,
        device_id: str,
        boot: int,
        now_ms: int,
        *,
        battery_pct: float = 100.0,
        flash_records: int = FLASH_RECORDS,
        clock: DeviceClock | None = None,
    ) -> None:
        self.device_id, self.boot = device_id, boot
        self.clock = clock or DeviceClock()
        self.on, self.worn, self.charging = True, True, False
        self.overwritten = 0
        self._started_ms = self._charged_ms = now_ms
        self._charge_pct, self._capacity = battery_pct, flash_records
        self._charge_at_power_off = 0
        self._flash: dict[int, bytes] = {}
        self._oldest, self._next = 0, 0

    def measure(
        self,
        measurements: Measurements | None,
        now_ms: int,
        *,
        motion: bool = False,
        low_perfusion: bool = False,
    ) -> BraceletRecord:
        """Give one measurement its sequence number and write it to flash."""
        flags = RecordFlag(0)
        flags |= RecordFlag.CLOCK_SET if self.clock.is_set else 0
        flags |= 0 if self.worn else RecordFlag.NO_CONTACT
        flags |= RecordFlag.MOTION if motion else 0
        flags |= RecordFlag.LOW_PERFUSION if low_perfusion else 0
        record = BraceletRecord(self._next, self.boot, self.clock_ms(now_ms), flags, measurements)
        self._flash[record.seq] = bytes(record)
        self._next += 1
        if len(self._flash) > self._capacity:
            del self._flash[self._oldest]
            self._oldest += 1
            self.overwritten += 1
        return record

    @property
    def unreleased(self) -> int:
        """Number of records in flash that no gateway has released."""
        return len(self._flash)

    def stored_from(self, seq: int) -> Iterator[bytes]:
        """Yield the records in flash from this sequence number up to the newest, oldest first.

        Records that are released or overwritten during the iteration are skipped.
        """
        for number in range(max(seq, self._oldest), self._next):
            if record := self._flash.get(number):
                yield record

    def count_from(self, seq: int) -> int:
        """Return how many records `stored_from` would yield."""
        return max(0, self._next - max(seq, self._oldest))

    def release_up_to(self, seq: int) -> int:
        """Delete the records in flash up to this sequence number.

        Returns:
            Number of records deleted.
        """
        last = min(seq, self._next - 1)
        freed = max(0, last + 1 - self._oldest)
        for number in range(self._oldest, self._oldest + freed):
            del self._flash[number]
        self._oldest += freed
        return freed

    def status(self, now_ms: int) -> BraceletStatus:
        """Return the technical state; the oldest number is above the newest if flash is empty."""
        flags = StatusFlag(0)
        flags |= StatusFlag.CLOCK_SET if self.clock.is_set else 0
        flags |= StatusFlag.WORN if self.worn else 0
        flags |= StatusFlag.CHARGING if self.charging else 0
        oldest, newest = self._oldest, self._next - 1
        if newest < 0:  # nothing measured yet, and numbers cannot be negative
            oldest, newest = 1, 0
        return BraceletStatus(
            self.boot, flags, self.battery_pct(now_ms), self.clock_ms(now_ms), oldest, newest
        )

    def clock_ms(self, now_ms: int) -> int:
        """Return the time the bracelet's clock shows, at least 0: its register is unsigned.

        A reading due just before a restart would be negative, and so would a time before 1970.
        """
        return max(0, self.clock.time_at(now_ms, self._started_ms))

    def battery_pct(self, now_ms: int) -> int:
        """Return the charge, whole percent: five days from full to empty."""
        used = 100 * (now_ms - self._charged_ms) / BATTERY_LIFE_MS
        return max(0, min(100, round(self._charge_pct - used)))

    def set_charge(self, battery_pct: float, now_ms: int) -> None:
        """Set the charge, as after charging or a drop in voltage."""
        self._charge_pct, self._charged_ms = battery_pct, now_ms

    def power_off(self, now_ms: int) -> None:
        """Switch off because of a drop in voltage; `restart` restores the charge it had."""
        if self.on:
            self.on, self._charge_at_power_off = False, self.battery_pct(now_ms)

    def restart(self, now_ms: int, *, flash_kept: bool = True, clock_kept: bool = True) -> None:
        """Restart with the next restart counter.

        Args:
            now_ms: time of the restart.
            flash_kept: keep flash and sequence numbers; else flash is empty and numbers start at 0.
            clock_kept: keep the clock; else it is unset, as after an empty battery.
        """
        if not self.on:
            self.set_charge(self._charge_at_power_off, now_ms)
        self.on, self.boot = True, (self.boot + 1) % 256
        self._started_ms = now_ms
        self.clock = self.clock if clock_kept else DeviceClock(is_set=False, drift_ppm=self.clock.drift_ppm)
        if not flash_kept:
            self._flash.clear()
            self._oldest = self._next = 0
