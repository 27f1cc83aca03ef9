"""The state of one child: open alarms, latest values, trends. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from pydantic import BaseModel

from edge_gateway.alarms.trend import Trend
from vitals.episodes import Episodes
from vitals.limits import VITALS
from vitals.reading import Reading, UtcTime


@dataclass(frozen=True, slots=True)
class LatestValue:
    """The latest value of one vital.

    Attributes:
        measured: time of the measurement.
    """

    number: float
    measured: datetime


class PersistedPatient(BaseModel):
    """The part of a child's state that survives a restart.

    Attributes:
        since: when monitoring began.
        latest: time of the latest plausible value; None before the first one.
    """

    episodes: Episodes
    since: UtcTime
    latest: UtcTime | None = None


@dataclass(slots=True)
class PatientState:
    """One child.

    Attributes:
        name: display name on the page and in messages.
        devices: the bracelets of this child.
        persisted: the part that survives a restart.
        listed: whether the configuration names the child; only then are missing values an alarm.
        values: the latest value of each vital, by field.
        trends: the last hours of each vital, by field.
        no_contact_since: since when the sensor has had no skin contact; None while it has.
        changed: whether alarms changed since the state was last saved.
    """

    patient_id: str
    name: str
    devices: set[str]
    persisted: PersistedPatient
    listed: bool = True
    values: dict[str, LatestValue] = field(default_factory=dict)
    trends: dict[str, Trend] = field(default_factory=lambda: {vital.field: Trend() for vital in VITALS})
    no_contact_since: datetime | None = None
    changed: bool = False

    @property
    def episodes(self) -> Episodes:
        """The child's alarm episodes."""
        return self.persisted.episodes

    @property
    def last_value_at(self) -> datetime:
        """When the latest value was measured; before the first one, when monitoring began."""
        return self.persisted.latest or self.persisted.since

    def update(self, reading: Reading, now: datetime) -> None:
        """Apply a reading that has just arrived."""
        measured = self.record_values(reading, now)
        lost_contact = reading.signal is not None and reading.signal.contact is False
        self.no_contact_since = (self.no_contact_since or measured) if lost_contact else None

    def record_values(self, reading: Reading, now: datetime) -> datetime:
        """Record the plausible values of a reading that are newer than the recorded ones.

        Returns:
            When the reading was measured, but never later than `now`.
        """
        self.devices.add(reading.device_id)
        measured = min(reading.timestamp, now)
        for vital in VITALS:
            number = reading.measurements.plausible(vital.field)
            if number is None:
                continue
            self.trends[vital.field].add(number, measured)
            latest = self.values.get(vital.field)
            if latest is None or latest.measured <= measured:
                self.values[vital.field] = LatestValue(number, measured)
                self.persisted.latest = max(self.persisted.latest or measured, measured)
        return measured
