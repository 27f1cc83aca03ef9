"""A simulated night: three children, a reading a second, and a carer who answers a minute after being told.

Time is simulated, so that eight hours take seconds; ward, alarms and conditions are the gateway's own.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from uuid import uuid4

from edge_gateway.alarms import technical_conditions
from edge_gateway.alarms.evaluator import Alarms
from edge_gateway.alarms.monitor import Ward
from edge_gateway.state import Counters
from firmware_sim.physiology.body import THREE_PATIENTS
from firmware_sim.physiology.scenarios import simulate
from vitals.conditions import Condition
from vitals.message import Message
from vitals.notices import Group
from vitals.reading import Measurements, Reading, Signal, Source

BEDTIME = datetime(2025, 8, 24, 21, 0, tzinfo=UTC)
_SEED = 7
_SECOND = timedelta(seconds=1)
_ANSWERS_AFTER = timedelta(minutes=1)
_GROUPS = frozenset(group.value for group in Group)


@dataclass(slots=True)
class Night:
    """What came of it.

    Attributes:
        critical: readings that meet a rule, judged here by the numbers of the contract.
        missed: of those, readings without a record.
        records: critical alert records.
        told: messages about alarms, to the first contact.
        delays_s: from the first critical reading of an alarm to the first message about it.
    """

    readings: int = 0
    critical: int = 0
    missed: int = 0
    records: int = 0
    told: list[Message] = field(default_factory=list)
    delays_s: list[float] = field(default_factory=list)


class _Nobody:
    async def alarm_states(self) -> dict[str, str]:
        return {}

    async def keep_alarm_state(self, *_: str) -> None:
        pass


async def night(hours: float) -> Night:
    """Let it pass."""
    outcome, now = Night(), BEDTIME
    ward = Ward("gw", {}, {}, _Nobody(), _conditions, lambda: now)
    await ward.recall()
    ward.callers.append(lambda said: outcome.told.append(said) if said.kind in _GROUPS else None)
    alarms = Alarms([], Counters(), ward.observe)
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
            before = len(outcome.told)
            found = [alert for alert in alarms.judge(reading) if alert.type.name.startswith("CRITICAL")]
            outcome.readings += 1
            outcome.records += len(found)
            if _is_critical(sample.measurements):
                outcome.critical += 1
                outcome.missed += not found
            outcome.delays_s += [
                (said.at - now).total_seconds() for said in outcome.told[before:] if said.why == "raised"
            ]
        ward.tick()
        for said in outcome.told[-12:]:
            if said.patient_id and now - said.at == _ANSWERS_AFTER:
                ward.acknowledge(said.patient_id, "carer", Group(said.kind))
    return outcome


def _conditions(ward: Ward, now: datetime) -> Iterator[Condition]:
    for child in ward.children.values():
        yield from technical_conditions.of_child(child, [], ward.started, now)


def _is_critical(values: Measurements) -> bool:
    """By the numbers of the contract, apart from the code that is tested."""
    spo2, heart, temperature = values.spo2_pct, values.freq_card, values.temp_corp
    assert spo2 is not None
    assert heart is not None
    assert temperature is not None
    return spo2 < 88 or temperature >= 38.0 or heart < 40 or heart > 180
