"""The simple simulator: shares, ranges, repeatability and lossless encoding."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from itertools import islice, pairwise

import pytest

from firmware_sim.physiology.body import THREE_PATIENTS, Genotype, Patient, patients
from firmware_sim.physiology.scenarios import Scenario, simulate
from vitals.gatt.bracelet import BraceletRecord, RecordFlag
from vitals.reading import Reading
from vitals.rules import AlertType, Severity, evaluate

SHARES = {
    Scenario.NORMAL: 0.70,
    Scenario.STRESS: 0.15,
    Scenario.ACTIVITY: 0.10,
    Scenario.CRISIS: 0.05,
}
TOLERANCE = 0.005
"""Half a percentage point."""


def mean(numbers: list[float]) -> float:
    return sum(numbers) / len(numbers)


def alerts(patient: Patient, seed: int, readings: int) -> list[set[AlertType]]:
    """Return the critical alerts of each reading."""
    return [
        {
            alert.type
            for alert in evaluate(
                Reading(
                    patient_id=patient.patient_id,
                    device_id="d",
                    timestamp=datetime(2025, 8, 24, tzinfo=UTC),
                    measurements=sample.measurements,
                )
            )
            if alert.severity is Severity.CRITICAL
        }
        for sample in islice(simulate(patient, seed), readings)
    ]


def test_three_patients_are_those_of_the_contract() -> None:
    assert [(p.patient_id, p.genotype, p.age_years) for p in THREE_PATIENTS] == [
        ("patient-001-ss", Genotype.SS, 8),
        ("patient-002-as", Genotype.AS, 15),
        ("patient-003-sc", Genotype.SC, 12),
    ]
    assert [p.patient_id for p in islice(patients(), 3, 5)] == ["patient-004-ss", "patient-005-as"]


@pytest.mark.parametrize("patient", THREE_PATIENTS, ids=lambda patient: patient.genotype)
def test_simulate_shares_hold_over_readings(patient: Patient) -> None:
    count = 20_000
    seen = Counter(sample.scenario for sample in islice(simulate(patient, 7), count))
    for scenario, share in SHARES.items():
        assert seen[scenario] / count == pytest.approx(share, abs=TOLERANCE)


def test_simulate_same_seed_gives_the_same_readings() -> None:
    first, again, other = (list(islice(simulate(THREE_PATIENTS[0], seed), 500)) for seed in (7, 7, 8))
    assert first == again
    assert first != other


def test_simulate_golden_first_readings_of_seed_1() -> None:
    values = [sample.measurements.present() for sample in islice(simulate(THREE_PATIENTS[0], 1), 2)]
    assert values == [
        {"spo2_pct": 89.6, "freq_card": 107.5, "freq_resp": 23.8, "temp_corp": 38.5},
        {"spo2_pct": 89.2, "freq_card": 106.7, "freq_resp": 24.4, "temp_corp": 38.5},
    ]


@pytest.mark.parametrize("patient", THREE_PATIENTS, ids=lambda patient: patient.genotype)
def test_simulate_values_are_plausible_and_survive_the_record(patient: Patient) -> None:
    for sample in islice(simulate(patient, 3), 5_000):
        assert len(sample.measurements.present()) == 4
        assert sample.measurements.invalid_fields == ()
        record = BraceletRecord(1, 2, 3, RecordFlag.CLOCK_SET, sample.measurements)
        assert BraceletRecord.from_bytes(bytes(record)).measurements == sample.measurements


def test_simulate_resting_values_follow_the_genotype() -> None:
    """Compare means over 60 children per genotype with the table written out here."""
    expected = {
        Genotype.SS: (95.0, 96.0, 21.0, 36.8),
        Genotype.AS: (98.0, 75.0, 17.0, 36.8),
        Genotype.SC: (98.0, 82.0, 19.0, 36.8),
    }
    tolerances = (0.7, 2.5, 0.7, 0.06)
    for genotype, means in expected.items():
        calm = [
            sample.measurements
            for number in range(60)
            for sample in islice(simulate(Patient(f"child-{number}", genotype, 8), 1), 60)
            if sample.scenario is Scenario.NORMAL
        ]
        for field, value, tolerance in zip(
            ("spo2_pct", "freq_card", "freq_resp", "temp_corp"), means, tolerances, strict=True
        ):
            assert mean([getattr(m, field) for m in calm]) == pytest.approx(value, abs=tolerance)


@pytest.mark.parametrize("patient", THREE_PATIENTS, ids=lambda patient: patient.genotype)
def test_simulate_crisis_lowers_saturation_and_raises_temperature(patient: Patient) -> None:
    samples = list(islice(simulate(patient, 11), 20_000))
    calm = [s.measurements for s in samples if s.scenario is Scenario.NORMAL]
    crisis = [s.measurements for s in samples if s.scenario is Scenario.CRISIS]
    spo2 = mean([m.spo2_pct or 0 for m in calm])
    temperature = mean([m.temp_corp or 0 for m in calm])
    drops = [spo2 - (m.spo2_pct or 0) for m in crisis]
    rises = [(m.temp_corp or 0) - temperature for m in crisis]
    assert mean(drops) == pytest.approx(10, abs=0.5)  # −5…−15
    assert mean(rises) == pytest.approx(2.25, abs=0.1)  # +1.5…+3.0
    assert 5 - 4 < min(drops) < max(drops) < 15 + 4  # plus the variation at rest
    assert 1.5 - 0.3 < min(rises) < max(rises) < 3.0 + 0.3


@pytest.mark.parametrize("patient", THREE_PATIENTS, ids=lambda patient: patient.genotype)
def test_simulate_crisis_is_critical_and_rest_is_not(patient: Patient) -> None:
    samples = list(islice(simulate(patient, 5), 3_600))
    for sample, found in zip(samples, alerts(patient, 5, 3_600), strict=True):
        if sample.scenario is Scenario.CRISIS:
            assert found
        if sample.scenario in (Scenario.NORMAL, Scenario.STRESS):
            assert not found


def test_simulate_five_bracelets_have_a_critical_reading_every_minute() -> None:
    """At 1 Hz: in the first minute for any seed, and in every minute of a long run."""
    five = list(islice(patients(), 5))
    for seed in range(40):
        assert any(found for patient in five for found in alerts(patient, seed, 60))
    critical = [alerts(patient, 7, 3_600) for patient in five]
    seconds = [second for second in range(3_600) if any(found[second] for found in critical)]
    assert max(run_in_background - earlier for earlier, run_in_background in pairwise(seconds)) < 60
