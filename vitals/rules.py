"""The alert rules: from a reading to its alerts. Stateless; every reading that meets a rule yields one."""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from uuid import UUID, uuid5

from pydantic import BaseModel, ConfigDict

from vitals import limits
from vitals.limits import BY_FIELD, SPO2, TEMPERATURE, VITALS, Limit, Vital
from vitals.reading import Identifier, Reading, UtcTime


class Severity(StrEnum):
    """Class of an alert."""

    CRITICAL = "CRITICAL"
    TECHNICAL = "TECHNICAL"


class AlertType(StrEnum):
    """Every type of alert, the physiological ones first."""

    CRITICAL_SPO2 = "CRITICAL_SPO2"
    CRITICAL_TEMPERATURE = "CRITICAL_TEMPERATURE"
    CRITICAL_HEART_RATE = "CRITICAL_HEART_RATE"
    CRITICAL_FEVER_SPO2 = "CRITICAL_FEVER_SPO2"
    SENSOR_OFF = "SENSOR_OFF"
    INVALID_VALUE = "INVALID_VALUE"
    LOW_BATTERY = "LOW_BATTERY"
    NO_DATA = "NO_DATA"
    GATEWAY_SILENT = "GATEWAY_SILENT"
    CLOCK_SKEW = "CLOCK_SKEW"

    @property
    def severity(self) -> Severity:
        """Critical for the physiological rules, technical for all others."""
        return Severity.CRITICAL if self.name.startswith("CRITICAL_") else Severity.TECHNICAL


class Alert(BaseModel):
    """One rule met by one reading.

    Attributes:
        value: the value that met the rule, in the unit of its vital; None where no value is involved.
        threshold: the limit that was crossed.
        message, message_fr: one sentence for carers, in English and in French.
    """

    model_config = ConfigDict(frozen=True)

    type: AlertType
    severity: Severity
    value: float | None
    threshold: float | None
    message: str
    message_fr: str


class AlertRecord(Alert):
    """An alert together with the identity of its reading, as topics, tables and screens hold it."""

    alert_id: UUID
    message_id: UUID
    patient_id: Identifier
    device_id: Identifier
    timestamp: UtcTime


_RULES = sorted(
    ((AlertType(vital.alarm.alert_type), vital, vital.alarm) for vital in VITALS if vital.alarm),
    key=lambda rule: list(AlertType).index(rule[0]),
)
"""The rules on a single vital, in the order of their alert types."""


def alert_id(message_id: UUID, alert_type: AlertType) -> UUID:
    """Return the identity of an alert, the same however often its reading is sent."""
    return uuid5(message_id, alert_type.value)


def records(reading: Reading, message_id: UUID) -> tuple[AlertRecord, ...]:
    """Return the alert records of one reading."""
    return tuple(record_of(alert, reading, message_id) for alert in evaluate(reading))


def record_of(alert: Alert, reading: Reading, message_id: UUID) -> AlertRecord:
    """Return the record of an alert that this reading raised."""
    return AlertRecord(
        **alert.model_dump(),
        alert_id=alert_id(message_id, alert.type),
        message_id=message_id,
        patient_id=reading.patient_id,
        device_id=reading.device_id,
        timestamp=reading.timestamp,
    )


def evaluate(reading: Reading) -> tuple[Alert, ...]:
    """Return all alerts of one reading, critical ones first; raw values are compared, never rounded ones."""
    return (*_critical(reading), *_technical(reading))


def is_critical(reading: Reading) -> bool:
    """Return whether a reading meets any physiological rule."""
    return any(True for _ in _critical(reading))


def clock_skew(seconds_ahead: float) -> Alert:
    """Return the alert for a timestamp in the future.

    Args:
        seconds_ahead: how far the timestamp is ahead of the server's clock.
    """
    return _alert(
        AlertType.CLOCK_SKEW,
        seconds_ahead,
        limits.FUTURE_TOLERANCE_S,
        f"timestamp is {seconds_ahead:.0f} s ahead of the server's clock",
        f"l'horodatage est en avance de {seconds_ahead:.0f} s sur l'horloge du serveur",
    )


def _critical(reading: Reading) -> Iterator[Alert]:
    plausible = reading.measurements.plausible
    for kind, vital, alarm in _RULES:
        value = plausible(vital.field)
        if value is not None and (limit := alarm.crossed(value)) is not None:
            yield _limit_alert(kind, vital, limit, value, too_low=limit is alarm.low)
    spo2, temperature = plausible(SPO2.field), plausible(TEMPERATURE.field)
    if spo2 is not None and temperature is not None and _is_fever_with_low_spo2(spo2, temperature):
        yield _alert(
            AlertType.CRITICAL_FEVER_SPO2,
            spo2,
            limits.SPO2_WITH_FEVER_UP_TO,
            f"SpO2 {_en(spo2)} % together with a temperature of {_en(temperature)} °C",
            f"SpO2 à {_fr(spo2)} % avec une température de {_fr(temperature)} °C",
        )


def _limit_alert(kind: AlertType, vital: Vital, limit: Limit, value: float, *, too_low: bool) -> Alert:
    unit = vital.unit_shown
    en, fr = f"{_en(limit.critical)} {unit}", f"{_fr(limit.critical)} {unit}"
    if limit.included:
        crossed_en, crossed_fr = f"has reached {en}", f"seuil de {fr} atteint"
    elif too_low:
        crossed_en, crossed_fr = f"is below {en}", f"sous {fr}"
    else:
        crossed_en, crossed_fr = f"is above {en}", f"au-dessus de {fr}"
    return _alert(
        kind,
        value,
        limit.critical,
        f"{vital.short_en} {_en(value)} {unit} {crossed_en}",
        f"{vital.short_fr} à {_fr(value)} {unit}, {crossed_fr}",
    )


def _is_fever_with_low_spo2(spo2: float, temperature: float) -> bool:
    return spo2 <= limits.SPO2_WITH_FEVER_UP_TO and temperature >= limits.TEMPERATURE_CRITICAL_FROM


def _technical(reading: Reading) -> Iterator[Alert]:
    values, signal = reading.measurements, reading.signal
    off = [BY_FIELD[field] for field in values.invalid_fields if getattr(values, field) == 0]
    if off or (signal and signal.contact is False):
        names_en = ", ".join(vital.name_en for vital in off) or "no skin contact"
        names_fr = ", ".join(vital.name_fr for vital in off) or "pas de contact avec la peau"
        yield _alert(
            AlertType.SENSOR_OFF,
            0 if off else None,
            None,
            f"sensor off or not worn: {names_en}",
            f"capteur débranché ou non porté\u00a0: {names_fr}",
        )
    if len(off) < len(values.invalid_fields):
        implausible = [BY_FIELD[field] for field in values.invalid_fields if getattr(values, field) != 0]
        first = implausible[0]
        value = getattr(values, first.field)
        yield _alert(
            AlertType.INVALID_VALUE,
            value,
            first.high if value > first.high else first.low,
            "physiologically implausible: " + ", ".join(v.name_en for v in implausible),
            "valeur physiologiquement impossible\u00a0: " + ", ".join(v.name_fr for v in implausible),
        )
    battery = signal.battery_pct if signal else None
    if battery is not None and battery <= limits.BATTERY_LOW_UP_TO_PCT:
        yield _alert(
            AlertType.LOW_BATTERY,
            battery,
            limits.BATTERY_LOW_UP_TO_PCT,
            f"bracelet battery at {battery} %",
            f"batterie du bracelet à {battery} %",
        )


def _alert(
    kind: AlertType, value: float | None, threshold: float | None, message: str, message_fr: str
) -> Alert:
    return Alert(
        type=kind,
        severity=kind.severity,
        value=value,
        threshold=threshold,
        message=message,
        message_fr=message_fr,
    )


def _en(value: float) -> str:
    """The value as sent, not rounded, so that no message says that 88 is below 88."""
    return repr(float(value)).removesuffix(".0")


def _fr(value: float) -> str:
    return _en(value).replace(".", ",")
