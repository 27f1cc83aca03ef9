"""Which technical conditions hold, from what the gateway knows of itself."""

from __future__ import annotations

import ctypes
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest

from edge_gateway import system_clock
from edge_gateway.alarms import technical_conditions
from edge_gateway.alarms.monitor import Child, Watched
from edge_gateway.state import LinkInfo
from vitals.absence import Absence
from vitals.episodes import Episodes

NOW = datetime(2025, 8, 24, 2, 0, tzinfo=UTC)
DAY_AGO = NOW - timedelta(days=1)


def a_child(silent: timedelta) -> Child:
    watched = Watched(episodes=Episodes(patient_id="p"), since=DAY_AGO, latest=NOW - silent)
    return Child("p", "Awa", {"bracelet-001"}, watched, listed=True)


@pytest.mark.parametrize(
    ("parts", "found"),
    [
        (technical_conditions.Parts(), []),
        (technical_conditions.Parts(uplink_down_since=NOW - timedelta(seconds=119)), []),
        (technical_conditions.Parts(uplink_down_since=NOW - timedelta(seconds=120)), ["UPLINK_DOWN LOW"]),
        (technical_conditions.Parts(uplink_down_since=NOW - timedelta(minutes=30)), ["UPLINK_DOWN MEDIUM"]),
        (technical_conditions.Parts(outbox_filled=0.69), []),
        (technical_conditions.Parts(outbox_filled=0.7), ["OUTBOX_FILLING LOW"]),
        (technical_conditions.Parts(outbox_filled=0.9), ["OUTBOX_FILLING MEDIUM"]),
        (technical_conditions.Parts(outbox_trouble="disk full"), ["OUTBOX_FAILING HIGH"]),
        (technical_conditions.Parts(clock_synchronised=True), []),
        (technical_conditions.Parts(clock_synchronised=False), ["CLOCK_UNSYNCHRONISED LOW"]),
        (technical_conditions.Parts(failing=("mother",)), ["NOTIFIER_FAILING HIGH"]),
    ],
)
def test_part_of_the_gateway_that_fails_is_told(parts: technical_conditions.Parts, found: list[str]) -> None:
    conditions = technical_conditions.of_gateway(parts, NOW)
    assert [f"{each.kind} {each.priority.name}" for each in conditions] == found


@pytest.mark.parametrize(
    ("battery_pct", "found"),
    [(16, []), (15, ["LOW_BATTERY LOW"]), (6, ["LOW_BATTERY LOW"]), (5, ["LOW_BATTERY MEDIUM"])],
)
def test_battery_that_runs_low_is_told(battery_pct: int, found: list[str]) -> None:
    link = LinkInfo("ble", "live", DAY_AGO, battery_pct=battery_pct)
    conditions = technical_conditions.of_child(a_child(timedelta()), [link], DAY_AGO, NOW)
    assert [f"{each.kind} {each.priority.name}" for each in conditions] == found


def test_reason_for_missing_values_is_that_of_the_link() -> None:
    link = LinkInfo("ble", "backing off", DAY_AGO, absence=Absence.SLOT_WAIT)
    (condition,) = technical_conditions.of_child(a_child(timedelta(minutes=3)), [link], DAY_AGO, NOW)
    assert condition.reason is Absence.SLOT_WAIT


@pytest.mark.parametrize(("kernel_says", "synchronised"), [(0, True), (5, False), (-1, None)])
def test_kernel_says_whether_the_clock_is_synchronised(
    monkeypatch: pytest.MonkeyPatch, kernel_says: int, synchronised: bool | None
) -> None:
    """0 is TIME_OK, 5 is TIME_ERROR (adjtimex(2))."""
    libc = SimpleNamespace(adjtimex=lambda _timex: kernel_says)
    monkeypatch.setattr(ctypes, "CDLL", lambda _name: libc)
    assert system_clock.is_synchronised() is synchronised


def test_kernel_without_that_call_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda _name: SimpleNamespace())
    assert system_clock.is_synchronised() is None
