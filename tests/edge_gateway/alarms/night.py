"""Simulates a night: three children, one reading per second, a carer who acknowledges after one minute.

Only time is simulated, so that eight hours take seconds. Monitor, evaluator and conditions are the gateway's.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from uuid import uuid4

from edge_gateway.alarms import technical_conditions
from edge_gateway.alarms.evaluator import AlarmEvaluator
from edge_gateway.alarms.monitor import AlarmMonitor
from edge_gateway.state import Counters
from firmware_sim.physiology.body import THREE_PATIENTS
from firmware_sim.physiology.scenarios import simulate
from tests.edge_gateway.helpers import VolatileAlarmStore
from vitals.conditions import Condition
from vitals.message import Message
from vitals.notices import Group
from vitals.reading import Measurements, Reading, Signal, Source

BEDTIME = datetime(2025, 8, 24, 21, 0, tzinfo=UTC)
_SEED = 7
_SECOND = timedelta(seconds=1)
_ACKNOWLEDGED_AFTER = timedelta(minutes=1)
_GROUPS = frozenset(group.value for group in Group)


@dataclass(slots=True)
class NightResult:
    """Counts and notifications of one simulated night.

    Attributes:
        critical: readings that meet a rule, decided here from the limits in the contract.
        missed: critical readings without an alert record.
        records: critical alert records.
        notifications: notifications about alarms.
        delays_s: from the reading that opened an alarm to its first notification.
    """

    readings: int = 0
    critical: int = 0
    missed: int = 0
    records: int = 0
    notifications: list[Message] = field(default_factory=list)
    delays_s: list[float] = field(default_factory=list)

    def add(self, notification: Message) -> None:
        if notification.kind in _GROUPS:
            self.notifications.append(notification)


async def night(hours: float) -> NightResult:
    """Simulate the first hours of a night."""
    result, now = NightResult(), BEDTIME
    monitor = AlarmMonitor("gw", {}, {}, VolatileAlarmStore(), _conditions, lambda: now)
    await monitor.load()
    monitor.listeners.append(result.add)
    evaluator = AlarmEvaluator([], Counters(), monitor.observe)
    children = [(patient, simulate(patient, _SEED)) for patient in THREE_PATIENTS]
    for _ in range(int(timedelta(hours=hours) / _SECOND)):
        now += _SECOND
        for patient, samples in children:
            sample = next(samples)
            reading = Reading(
                patient_id=patient.patient_id,
                device_id=f"bracelet-of-{patient.patient_id}",
                timestamp=now,
                measurements=sample.measurements,
                message_id=uuid4(),
                source=Source.BLE,
                signal=Signal(contact=True, motion=sample.motion),
            )
            before = len(result.notifications)
            alerts = evaluator.evaluate(reading)
            critical = [alert for alert in alerts if alert.type.name.startswith("CRITICAL")]
            result.readings += 1
            result.records += len(critical)
            if _is_critical(sample.measurements):
                result.critical += 1
                result.missed += not critical
            result.delays_s += [
                (notification.at - now).total_seconds()
                for notification in result.notifications[before:]
                if notification.why == "raised"
            ]
        monitor.tick()
        for notification in result.notifications[-12:]:
            if notification.patient_id and now - notification.at == _ACKNOWLEDGED_AFTER:
                monitor.acknowledge(notification.patient_id, "carer", Group(notification.kind))
    return result


def _conditions(monitor: AlarmMonitor, now: datetime) -> Iterator[Condition]:
    for child in monitor.children.values():
        yield from technical_conditions.of_child(child, [], monitor.started, now)


def _is_critical(values: Measurements) -> bool:
    """Apply the limits in the contract, independently of the code under test."""
    spo2, heart, temperature = values.spo2_pct, values.freq_card, values.temp_corp
    assert spo2 is not None
    assert heart is not None
    assert temperature is not None
    return spo2 < 88 or temperature >= 38.0 or heart < 40 or heart > 180
