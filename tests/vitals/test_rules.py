"""Alerts: every rule at its boundary, and properties that hold for any reading."""

from __future__ import annotations

import math
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.vitals.samples import PLAUSIBLE, any_value, any_vitals, document, inside, measured, outside
from vitals.reading import Reading, parse_reading
from vitals.rules import (
    Alert,
    AlertRecord,
    AlertType,
    Severity,
    alert_id,
    clock_skew,
    evaluate,
    record_of,
    records,
)

MESSAGE_ID = UUID("8f14e45f-ceea-467f-a9b8-2d1c3b4a5e6f")


def types(reading: Reading) -> list[str]:
    return [alert.type.value for alert in evaluate(reading)]


def critical(reading: Reading) -> set[str]:
    return {alert.type.value for alert in evaluate(reading) if alert.severity is Severity.CRITICAL}


def only(reading: Reading) -> Alert:
    (alert,) = evaluate(reading)
    return alert


def with_signal(**signal: Any) -> Reading:
    return parse_reading(document(signal=signal))


def test_evaluate_normal_values_raises_nothing() -> None:
    assert evaluate(parse_reading(document())) == ()


def test_evaluate_saturation_just_below_the_threshold() -> None:
    assert only(measured(spo2_pct=87.9)) == Alert(
        type=AlertType.CRITICAL_SPO2,
        severity=Severity.CRITICAL,
        value=87.9,
        threshold=88.0,
        message="SpO2 87.9 % is below 88 %",
        message_fr="SpO2 à 87,9 %, sous 88 %",
    )


def test_evaluate_temperature_at_the_threshold() -> None:
    assert only(measured(temp_corp=38)) == Alert(
        type=AlertType.CRITICAL_TEMPERATURE,
        severity=Severity.CRITICAL,
        value=38.0,
        threshold=38.0,
        message="temperature 38 °C has reached 38 °C",
        message_fr="température à 38 °C, seuil de 38 °C atteint",
    )


@pytest.mark.parametrize(("rate", "threshold"), [(39.5, 40.0), (181, 180.0)])
def test_evaluate_heart_rate_names_the_threshold_it_crossed(rate: float, threshold: float) -> None:
    alert = only(measured(freq_card=rate))
    assert (alert.type, alert.value, alert.threshold) == (AlertType.CRITICAL_HEART_RATE, rate, threshold)


def test_evaluate_fever_with_low_saturation_raises_an_additional_alert() -> None:
    alerts = evaluate(measured(spo2_pct=85, temp_corp=38.5, freq_card=200))
    assert [alert.type for alert in alerts] == [
        AlertType.CRITICAL_SPO2,
        AlertType.CRITICAL_TEMPERATURE,
        AlertType.CRITICAL_HEART_RATE,
        AlertType.CRITICAL_FEVER_SPO2,
    ]
    assert (alerts[3].value, alerts[3].threshold) == (85, 92)
    assert alerts[3].message == "SpO2 85 % together with a temperature of 38.5 °C"
    assert alerts[3].message_fr == "SpO2 à 85 % avec une température de 38,5 °C"


@pytest.mark.parametrize(
    ("vitals", "message"),
    [
        ({"spo2_pct": math.nextafter(88, 0)}, "SpO2 87.99999999999999 % is below 88 %"),
        ({"freq_card": math.nextafter(180, 300)}, "heart rate 180.00000000000003 /min is above 180 /min"),
        ({"freq_card": math.nextafter(40, 0)}, "heart rate 39.99999999999999 /min is below 40 /min"),
    ],
)
def test_message_never_rounds_a_value_onto_its_threshold(vitals: dict[str, float], message: str) -> None:
    assert only(measured(**vitals)).message == message


def test_sensor_off_names_each_vital_at_zero() -> None:
    alert = only(measured(spo2_pct=0, freq_card=0, freq_resp=18))
    assert (alert.type, alert.severity, alert.value) == (AlertType.SENSOR_OFF, Severity.TECHNICAL, 0)
    assert alert.message == "sensor off or not worn: oxygen saturation, heart rate"
    assert (
        alert.message_fr == "capteur débranché ou non porté\u00a0: saturation en oxygène, fréquence cardiaque"
    )


def test_sensor_off_when_contact_is_lost_but_not_when_it_is_unknown() -> None:
    lost = only(with_signal(contact=False))
    assert (lost.type, lost.value) == (AlertType.SENSOR_OFF, None)
    assert lost.message == "sensor off or not worn: no skin contact"
    assert evaluate(with_signal(contact=None)) == ()
    assert evaluate(with_signal(contact=True)) == ()


@pytest.mark.parametrize(
    ("vitals", "value", "threshold"),
    [
        ({"spo2_pct": 101}, 101, 100),
        ({"spo2_pct": -1}, -1, 0),
        ({"freq_card": 301}, 301, 300),
        ({"freq_resp": 121}, 121, 120),
        ({"temp_corp": 24.9}, 24.9, 25),
        ({"temp_corp": 45.1}, 45.1, 45),
        ({"temp_corp": 380, "spo2_pct": 900}, 900, 100),
    ],
)
def test_invalid_value_names_the_range_it_left(
    vitals: dict[str, float], value: float, threshold: float
) -> None:
    alert = only(measured(**vitals))
    assert (alert.type, alert.value, alert.threshold) == (AlertType.INVALID_VALUE, value, threshold)


@pytest.mark.parametrize(("charge", "raised"), [(0, True), (15, True), (16, False), (100, False)])
def test_low_battery_at_its_boundary(charge: int, raised: bool) -> None:
    assert types(with_signal(battery_pct=charge)) == (["LOW_BATTERY"] if raised else [])


def test_clock_skew_of_seven_minutes() -> None:
    assert clock_skew(420.4) == Alert(
        type=AlertType.CLOCK_SKEW,
        severity=Severity.TECHNICAL,
        value=420.4,
        threshold=300.0,
        message="timestamp is 420 s ahead of the server's clock",
        message_fr="l'horodatage est en avance de 420 s sur l'horloge du serveur",
    )


def test_records_carry_the_reading_they_belong_to() -> None:
    (record,) = records(measured(spo2_pct=87.6), MESSAGE_ID)
    assert record.model_dump(mode="json") == {
        "alert_id": "273c059f-5b55-5369-aa8f-659b1f82680d",
        "message_id": "8f14e45f-ceea-467f-a9b8-2d1c3b4a5e6f",
        "patient_id": "patient-001-ss",
        "device_id": "bracelet-001",
        "timestamp": "2025-08-24T10:30:00.123456Z",
        "type": "CRITICAL_SPO2",
        "severity": "CRITICAL",
        "value": 87.6,
        "threshold": 88.0,
        "message": "SpO2 87.6 % is below 88 %",
        "message_fr": "SpO2 à 87,6 %, sous 88 %",
    }


def test_record_of_an_alert_that_no_rule_raised() -> None:
    record = record_of(clock_skew(600), measured(spo2_pct=97), MESSAGE_ID)
    assert isinstance(record, AlertRecord)
    assert (record.type, record.message_id) == (AlertType.CLOCK_SKEW, MESSAGE_ID)


@given(st.uuids(), st.uuids())
def test_alert_ids_are_stable_and_distinct_per_reading_and_type(one: UUID, other: UUID) -> None:
    ids = [alert_id(one, kind) for kind in AlertType]
    assert ids == [alert_id(UUID(str(one)), AlertType(str(kind))) for kind in AlertType]
    assert len(set(ids)) == len(AlertType)
    assert set(ids).isdisjoint(alert_id(other, kind) for kind in AlertType) == (one != other)


@given(any_vitals())
def test_every_type_is_raised_at_most_once_a_reading(vitals: dict[str, float]) -> None:
    raised = types(measured(**vitals))
    assert len(raised) == len(set(raised))
    assert raised == sorted(raised, key=list(AlertType.__members__).index)


@given(st.sampled_from(list(PLAUSIBLE)).flatmap(lambda field: st.tuples(st.just(field), inside(field))))
def test_every_plausible_value_is_evaluated_as_it_is(case: tuple[str, float]) -> None:
    field, value = case
    reading = measured(**{field: value})
    assert reading.measurements.invalid_fields == ()
    assert reading.measurements.plausible(field) == value
    expected = {
        "spo2_pct": {"CRITICAL_SPO2"} if value < 88 else set(),
        "freq_card": {"CRITICAL_HEART_RATE"} if not 40 <= value <= 180 else set(),
        "freq_resp": set(),
        "temp_corp": {"CRITICAL_TEMPERATURE"} if value >= 38 else set(),
    }
    assert set(types(reading)) == expected[field]


@given(st.fixed_dictionaries({field: outside(field) for field in PLAUSIBLE}))
def test_invalid_values_never_raise_a_critical_alert(vitals: dict[str, float]) -> None:
    reading = measured(**vitals)
    assert critical(reading) == set()
    assert set(types(reading)) <= {"SENSOR_OFF", "INVALID_VALUE"}
    assert types(reading)


@given(any_vitals(), st.sampled_from(list(PLAUSIBLE)), st.data())
def test_an_invalid_value_counts_as_one_not_measured(
    vitals: dict[str, float], field: str, data: st.DataObject
) -> None:
    others = {name: value for name, value in vitals.items() if name != field} or {"freq_resp": 18.0}
    broken = others | {field: data.draw(outside(field))}
    if field not in others:
        assert critical(measured(**broken)) == critical(measured(**others))


def worsened(data: st.DataObject, field: str, value: float) -> float:
    """A plausible value at least as critical."""
    low, high = PLAUSIBLE[field]
    if field == "spo2_pct" or (field == "freq_card" and value <= 100):
        return data.draw(st.floats(low, value, exclude_min=True))
    return data.draw(st.floats(value, high))


@given(
    st.fixed_dictionaries({field: inside(field) for field in ("spo2_pct", "freq_card", "temp_corp")}),
    st.data(),
)
def test_critical_rules_are_monotone(vitals: dict[str, float], data: st.DataObject) -> None:
    worse = {field: worsened(data, field, value) for field, value in vitals.items()}
    assert critical(measured(**vitals)) <= critical(measured(**worse))


@given(
    st.fixed_dictionaries({field: any_value(field) for field in PLAUSIBLE}),
    st.booleans(),
    st.sampled_from(["ble", "mqtt", "api"]),
    st.fixed_dictionaries(
        {name: st.none() | st.booleans() for name in ("contact", "motion", "low_perfusion")}
    ),
)
def test_only_the_vitals_decide_what_is_critical(
    vitals: dict[str, float], late: bool, source: str, signal: dict[str, bool | None]
) -> None:
    told = parse_reading(document(measurements=vitals, late=late, source=source, signal=signal, seq=0))
    assert critical(told) == critical(measured(**vitals))


@given(any_vitals())
def test_critical_alert_carries_the_raw_value(vitals: dict[str, float]) -> None:
    reading = measured(**vitals)
    own = {
        "CRITICAL_SPO2": "spo2_pct",
        "CRITICAL_FEVER_SPO2": "spo2_pct",
        "CRITICAL_TEMPERATURE": "temp_corp",
        "CRITICAL_HEART_RATE": "freq_card",
    }
    for alert in evaluate(reading):
        if alert.severity is Severity.CRITICAL:
            assert alert.value == vitals[own[alert.type]]
