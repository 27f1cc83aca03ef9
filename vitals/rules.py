"""Reading -> alerts. Stateless and complete: a reading that meets a rule yields its record, every time."""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from uuid import UUID, uuid5

from pydantic import BaseModel, ConfigDict

from vitals import limits
from vitals.limits import BY_FIELD, HEART_RATE, SPO2, TEMPERATURE
from vitals.reading import Identifier, Reading, UtcTime


class Severity(StrEnum):
    """How an alert is to be taken."""

    CRITICAL = "CRITICAL"
    TECHNICAL = "TECHNICAL"


class AlertType(StrEnum):
    """Every kind of alert, physiological ones first."""

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
        """Critical for the four physiological rules, technical otherwise."""
        return Severity.CRITICAL if self.name.startswith("CRITICAL_") else Severity.TECHNICAL


class Alert(BaseModel):
    """One rule met by one reading.

    Attributes:
        value: the number that met the rule, in the unit of its vital; None where there is none.
        threshold: the boundary it crossed.
        message, message_fr: the same sentence in English and French.
    """

    model_config = ConfigDict(frozen=True)

    type: AlertType
    severity: Severity
    value: float | None
    threshold: float | None
    message: str
    message_fr: str


class AlertRecord(Alert):
    """An alert with the reading it belongs to, as topics, tables and carers' screens hold it."""

    alert_id: UUID
    message_id: UUID
    patient_id: Identifier
    device_id: Identifier
    timestamp: UtcTime


def alert_id(message_id: UUID, alert_type: AlertType) -> UUID:
    """Identity of an alert: one per reading and rule, however often it is sent."""
    return uuid5(message_id, alert_type.value)


def records(reading: Reading, message_id: UUID) -> tuple[AlertRecord, ...]:
    """The alert records of one reading."""
    return tuple(record_of(alert, reading, message_id) for alert in evaluate(reading))


def record_of(alert: Alert, reading: Reading, message_id: UUID) -> AlertRecord:
    """Join an alert to the reading it was raised by."""
    return AlertRecord(
        **alert.model_dump(),
        alert_id=alert_id(message_id, alert.type),
        message_id=message_id,
        patient_id=reading.patient_id,
        device_id=reading.device_id,
        timestamp=reading.timestamp,
    )


def evaluate(reading: Reading) -> tuple[Alert, ...]:
    """All alerts of one reading, critical ones first; raw values are compared, never rounded ones."""
    return (*_critical(reading), *_technical(reading))


def is_critical(reading: Reading) -> bool:
    """Whether a reading meets any of the four physiological rules."""
    return any(True for _ in _critical(reading))


def clock_skew(seconds_ahead: float) -> Alert:
    """The alert for a timestamp from the future.

    Args:
        seconds_ahead: how far the timestamp is ahead of the server's clock.
    """
    return _alert(
        AlertType.CLOCK_SKEW,
        seconds_ahead,
        limits.FUTURE_TOLERANCE_S,
        f"timestamp is {seconds_ahead:.0f} s ahead of the server's clock",
        f"horodatage en avance de {seconds_ahead:.0f} s sur l'horloge du serveur",
    )


def _critical(reading: Reading) -> Iterator[Alert]:
    spo2 = reading.measurements.plausible(SPO2.field)
    heart_rate = reading.measurements.plausible(HEART_RATE.field)
    temperature = reading.measurements.plausible(TEMPERATURE.field)

    if spo2 is not None and spo2 < limits.SPO2_CRITICAL_BELOW:
        yield _alert(
            AlertType.CRITICAL_SPO2,
            spo2,
            limits.SPO2_CRITICAL_BELOW,
            f"SpO2 {_en(spo2)} % is below {limits.SPO2_CRITICAL_BELOW:g} %",
            f"SpO2 à {_fr(spo2)} %, sous {limits.SPO2_CRITICAL_BELOW:g} %",
        )
    if temperature is not None and temperature >= limits.TEMPERATURE_CRITICAL_FROM:
        yield _alert(
            AlertType.CRITICAL_TEMPERATURE,
            temperature,
            limits.TEMPERATURE_CRITICAL_FROM,
            f"temperature {_en(temperature)} °C has reached {limits.TEMPERATURE_CRITICAL_FROM:g} °C",
            f"température à {_fr(temperature)} °C, seuil de {limits.TEMPERATURE_CRITICAL_FROM:g} °C atteint",
        )
    if heart_rate is not None and heart_rate < limits.HEART_RATE_CRITICAL_BELOW:
        yield _alert(
            AlertType.CRITICAL_HEART_RATE,
            heart_rate,
            limits.HEART_RATE_CRITICAL_BELOW,
            f"heart rate {_en(heart_rate)} /min is below {limits.HEART_RATE_CRITICAL_BELOW:g} /min",
            f"fréquence cardiaque à {_fr(heart_rate)} /min, moins de {limits.HEART_RATE_CRITICAL_BELOW:g}",
        )
    if heart_rate is not None and heart_rate > limits.HEART_RATE_CRITICAL_ABOVE:
        yield _alert(
            AlertType.CRITICAL_HEART_RATE,
            heart_rate,
            limits.HEART_RATE_CRITICAL_ABOVE,
            f"heart rate {_en(heart_rate)} /min is above {limits.HEART_RATE_CRITICAL_ABOVE:g} /min",
            f"fréquence cardiaque à {_fr(heart_rate)} /min, plus de {limits.HEART_RATE_CRITICAL_ABOVE:g}",
        )
    if spo2 is not None and temperature is not None and _is_fever_with_low_spo2(spo2, temperature):
        yield _alert(
            AlertType.CRITICAL_FEVER_SPO2,
            spo2,
            limits.SPO2_WITH_FEVER_UP_TO,
            f"SpO2 {_en(spo2)} % together with a temperature of {_en(temperature)} °C",
            f"SpO2 à {_fr(spo2)} % avec une température de {_fr(temperature)} °C",
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
            f"capteur débranché ou non porté : {names_fr}",
        )
    if len(off) < len(values.invalid_fields):
        impossible = [BY_FIELD[field] for field in values.invalid_fields if getattr(values, field) != 0]
        first = impossible[0]
        value = getattr(values, first.field)
        yield _alert(
            AlertType.INVALID_VALUE,
            value,
            first.high if value > first.high else first.low,
            "no body has this value: " + ", ".join(v.name_en for v in impossible),
            "valeur impossible : " + ", ".join(v.name_fr for v in impossible),
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
    """The number as it was sent, not rounded: no message says that 88 is below 88."""
    return repr(float(value)).removesuffix(".0")


def _fr(value: float) -> str:
    return _en(value).replace(".", ",")
