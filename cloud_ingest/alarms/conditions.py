"""Technical conditions of gateways and patients, as the cloud sees them: silent gateways, missing data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta

from cloud_ingest.alarms.coverage import KnownGateway, KnownGateways
from cloud_ingest.alarms.service_health import KafkaLiveness
from cloud_ingest.alarms.states import PatientAlarms
from vitals.conditions import Condition, ConditionKind, Priority, Standing, no_data

_URGENT_AFTER = timedelta(minutes=10)


def is_silent(
    gateway: KnownGateway, gateways: KnownGateways, standing: Mapping[str, Standing], now: datetime
) -> bool:
    """Return whether a gateway is silent.

    Args:
        standing: the conditions of the last tick, by key.
    """
    key = Condition(ConditionKind.GATEWAY_SILENT, Priority.HIGH, gateway.heartbeat.gateway_id).key
    return gateways.is_silent(gateway, key in standing, now)


def silent_gateways(
    gateways: KnownGateways,
    patients: Mapping[str, PatientAlarms],
    standing: Mapping[str, Standing],
    now: datetime,
) -> Iterator[Condition]:
    """Yield silent gateways: urgent after ten minutes, at once where a watched patient has an open alarm."""
    for gateway_id, gateway in gateways.by_id.items():
        if not is_silent(gateway, gateways, standing, now):
            continue
        watched = filter(None, map(patients.get, gateway.heartbeat.watches))
        urgent = any(patient.episodes.open for patient in watched) or now - gateway.heard >= _URGENT_AFTER
        yield Condition(
            ConditionKind.GATEWAY_SILENT, Priority.HIGH if urgent else Priority.MEDIUM, gateway_id
        )


def patients_without_data(
    gateways: KnownGateways,
    patients: Mapping[str, PatientAlarms],
    kafka: KafkaLiveness,
    standing: Mapping[str, Standing],
    now: datetime,
) -> Iterator[Condition]:
    """Yield patients without data that neither their gateway notifies nor its own silence explains.

    A patient without a gateway counts only while an alarm is open: the bracelet may just not be worn. While
    nothing can be received, the conditions of the last tick stay.
    """
    if kafka.is_disconnected(now):
        yield from _unchanged(ConditionKind.NO_DATA, standing)
        return
    for patient_id, patient in patients.items():
        alarm_open = bool(patient.episodes.open)
        watching = gateways.watching(patient_id)
        is_expected = any(gateways.is_fresh(gateway, now) for gateway in watching) if watching else alarm_open
        if not is_expected or gateways.is_covered(patient_id, now):
            continue
        if priority := no_data(patient.latest or patient.since, now, alarm_open=alarm_open):
            yield Condition(ConditionKind.NO_DATA, priority, patient_id)


def _unchanged(kind: ConditionKind, standing: Mapping[str, Standing]) -> Iterator[Condition]:
    for key, each in standing.items():
        name, _, subject = key.partition(":")
        if name == kind:
            yield Condition(kind, each.priority, subject)
