"""Technical conditions derived from the gateway's state."""

from __future__ import annotations

import ctypes
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest

from edge_gateway import system_clock
from edge_gateway.alarms import technical_conditions
from edge_gateway.alarms.patient_state import PatientState, PersistedPatient
from edge_gateway.alarms.technical_conditions import GatewayHealth
from edge_gateway.state import LinkInfo
from vitals.absence import Absence
from vitals.episodes import Episodes

NOW = datetime(2025, 8, 24, 2, 0, tzinfo=UTC)
DAY_AGO = NOW - timedelta(days=1)


def a_child(value_age: timedelta) -> PatientState:
    persisted = PersistedPatient(episodes=Episodes(patient_id="p"), since=DAY_AGO, latest=NOW - value_age)
    return PatientState("p", "Awa", {"bracelet-001"}, persisted, listed=True)


@pytest.mark.parametrize(
    ("health", "expected"),
    [
        (GatewayHealth(), []),
        (GatewayHealth(uplink_down_since=NOW - timedelta(seconds=119)), []),
        (
            GatewayHealth(uplink_down_since=NOW - timedelta(seconds=120)),
            ["UPLINK_DOWN LOW"],
        ),
        (
            GatewayHealth(uplink_down_since=NOW - timedelta(minutes=30)),
            ["UPLINK_DOWN MEDIUM"],
        ),
        (GatewayHealth(outbox_filled=0.69), []),
        (GatewayHealth(outbox_filled=0.7), ["OUTBOX_FILLING LOW"]),
        (GatewayHealth(outbox_filled=0.9), ["OUTBOX_FILLING MEDIUM"]),
        (GatewayHealth(outbox_trouble="disk full"), ["OUTBOX_FAILING HIGH"]),
        (GatewayHealth(clock_synchronised=True), []),
        (GatewayHealth(clock_synchronised=False), ["CLOCK_UNSYNCHRONISED LOW"]),
        (GatewayHealth(failing_contacts=("mother",)), ["NOTIFIER_FAILING HIGH"]),
    ],
)
def test_failing_component_raises_a_condition(health: GatewayHealth, expected: list[str]) -> None:
    conditions = technical_conditions.of_gateway(health, NOW)
    assert [f"{each.kind} {each.priority.name}" for each in conditions] == expected


@pytest.mark.parametrize(
    ("battery_pct", "expected"),
    [(16, []), (15, ["LOW_BATTERY LOW"]), (6, ["LOW_BATTERY LOW"]), (5, ["LOW_BATTERY MEDIUM"])],
)
def test_low_battery_raises_a_condition(battery_pct: int, expected: list[str]) -> None:
    link = LinkInfo("ble", "live", DAY_AGO, battery_pct=battery_pct)
    conditions = technical_conditions.of_child(a_child(timedelta()), [link], DAY_AGO, NOW)
    assert [f"{each.kind} {each.priority.name}" for each in conditions] == expected


def test_reason_for_missing_values_comes_from_the_link() -> None:
    link = LinkInfo("ble", "backing off", DAY_AGO, absence=Absence.SLOT_WAIT)
    (condition,) = technical_conditions.of_child(a_child(timedelta(minutes=3)), [link], DAY_AGO, NOW)
    assert condition.reason is Absence.SLOT_WAIT


@pytest.mark.parametrize(("kernel_state", "synchronised"), [(0, True), (5, False), (-1, None)])
def test_clock_synchronisation_comes_from_the_kernel(
    monkeypatch: pytest.MonkeyPatch, kernel_state: int, synchronised: bool | None
) -> None:
    """0 is TIME_OK, 5 is TIME_ERROR (adjtimex(2))."""
    libc = SimpleNamespace(adjtimex=lambda _timex: kernel_state)
    monkeypatch.setattr(ctypes, "CDLL", lambda _name: libc)
    assert system_clock.is_synchronised() is synchronised


def test_clock_synchronisation_is_unknown_without_adjtimex(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda _name: SimpleNamespace())
    assert system_clock.is_synchronised() is None
