"""Scenario files: their schedule, and the error messages of malformed ones."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import pytest

from firmware_sim.errors import InvalidScenario
from firmware_sim.faults.scenario_file import EventKind, FaultScenario, Occurrence, Transport, load_scenario

DEVICES = {"ble-001": Transport.BLE, "ble-002": Transport.BLE, "mqtt-001": Transport.MQTT}
SHIPPED = Path(__file__).parents[3] / "docs" / "scenarios"


def scenario(path: Path, text: str) -> FaultScenario:
    file = path / "scenario.toml"
    file.write_text(text)
    return load_scenario(file)


def test_event_without_interval_occurs_once_per_bracelet_in_order(tmp_path: Path) -> None:
    text = '[[event]]\nkind = "taken_off"\nat_s = 5\nfor_s = 2\nstagger_s = 1.5'
    found = list(scenario(tmp_path, text).occurrences(DEVICES))
    assert [(each.at_s, each.device_id, each.for_s) for each in found] == [
        (5.0, "ble-001", 2.0),
        (6.5, "ble-002", 2.0),
        (8.0, "mqtt-001", 2.0),
    ]


def test_event_with_interval_repeats_until_its_end(tmp_path: Path) -> None:
    text = '[[event]]\nkind = "link_loss"\nat_s = 10\nevery_s = 30\nuntil_s = 100\nbracelets = ["ble-001"]'
    found = scenario(tmp_path, text).occurrences(DEVICES)
    assert [each.at_s for each in found] == [10.0, 40.0, 70.0]


def test_endless_events_are_merged_by_time(tmp_path: Path) -> None:
    text = (
        '[[event]]\nkind = "duplicate"\nevery_s = 3\nvalue = 2\nbracelets = ["ble-001"]\n'
        '[[event]]\nkind = "garbage"\nat_s = 1\nevery_s = 4\nvalue = 1\nbracelets = ["mqtt-*"]'
    )
    found = list(islice(scenario(tmp_path, text).occurrences(DEVICES), 5))
    assert found == [
        Occurrence(0.0, "ble-001", EventKind.DUPLICATE, 0.0, 2.0),
        Occurrence(1.0, "mqtt-001", EventKind.GARBAGE, 0.0, 1.0),
        Occurrence(3.0, "ble-001", EventKind.DUPLICATE, 0.0, 2.0),
        Occurrence(5.0, "mqtt-001", EventKind.GARBAGE, 0.0, 1.0),
        Occurrence(6.0, "ble-001", EventKind.DUPLICATE, 0.0, 2.0),
    ]


def test_radio_events_skip_mqtt_bracelets(tmp_path: Path) -> None:
    found = scenario(tmp_path, '[[event]]\nkind = "link_loss"').occurrences(DEVICES)
    assert [each.device_id for each in found] == ["ble-001", "ble-002"]


def test_transport_does_not_depend_on_the_name(tmp_path: Path) -> None:
    devices = {"mqtt-lookalike": Transport.BLE, "wrist-1": Transport.MQTT}
    found = scenario(tmp_path, '[[event]]\nkind = "link_loss"').occurrences(devices)
    assert [each.device_id for each in found] == ["mqtt-lookalike"]


@pytest.mark.parametrize("kind", ["reboot", "reset", "reorder", "clock_wrong", "clock_unset", "battery"])
def test_firmware_events_include_mqtt_bracelets(tmp_path: Path, kind: str) -> None:
    text = f'[[event]]\nkind = "{kind}"\nvalue = 1\nbracelets = ["mqtt-001"]'
    assert [each.device_id for each in scenario(tmp_path, text).occurrences(DEVICES)] == ["mqtt-001"]


def test_slots_taken_occurs_once_for_the_adapter(tmp_path: Path) -> None:
    text = '[[event]]\nkind = "slots_taken"\nfor_s = 5\nvalue = 1'
    assert len(list(scenario(tmp_path, text).occurrences(DEVICES))) == 1


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "it has no [[event]] table"),
        ("[[event]]\nat_s = 5", "event 1: kind: Field required"),
        ('[[event]]\nkind = "flood"', "event 1: kind must be one of link_loss, out_of_range"),
        (
            '[[event]]\nkind = "link_loss"\n[[event]]\nkind = "link_loss"\nat_s = -1',
            "event 2: at_s: Input should be greater than or equal to 0",
        ),
        ('[[event]]\nkind = "link_loss"\nwhen = 5', "event 1: when: Extra inputs"),
        ('[[event]]\nkind = "out_of_range"', "event 1: out_of_range needs for_s: link lost"),
        ('[[event]]\nkind = "garbage"', "event 1: garbage needs value"),
        ('[[event]]\nkind = "battery"\nvalue = 101', "event 1: battery needs a value of at most 100"),
        ('[[event]]\nkind = "battery"\nvalue = 0', "event 1: battery at 0 needs for_s"),
        ('[[event]]\nkind = "garbage"\nvalue = -1', "event 1: garbage needs a value of 0 or more"),
        (
            '[[event]]\nkind = "clock_wrong"\nvalue = -4e9',
            "event 1: clock_wrong needs a value within 100 years",
        ),
        ("[[event]", "is not TOML"),
    ],
)
def test_malformed_file_error_names_the_event_and_the_field(tmp_path: Path, text: str, problem: str) -> None:
    with pytest.raises(InvalidScenario) as wrong:
        scenario(tmp_path, text)
    assert problem in str(wrong.value)


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidScenario, match="No such file"):
        load_scenario(tmp_path / "none.toml")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('kind = "link_loss"\nbracelets = ["ble-9*"]', "no bracelet matches ble-9*"),
        (
            'kind = "link_loss"\nbracelets = ["mqtt-001"]',
            "link_loss cannot be injected into MQTT bracelets: mqtt-001",
        ),
    ],
)
def test_event_without_a_matching_bracelet_is_refused(tmp_path: Path, text: str, problem: str) -> None:
    parsed = scenario(tmp_path, f"[[event]]\n{text}")
    with pytest.raises(InvalidScenario) as wrong:
        list(parsed.occurrences(DEVICES))
    assert problem in str(wrong.value)


@pytest.mark.parametrize("path", sorted(SHIPPED.glob("*.toml")), ids=lambda path: path.name)
def test_shipped_scenarios_fit_bracelets_of_both_kinds(path: Path) -> None:
    devices = {f"{kind}-{number:03d}": kind for kind in Transport for number in range(1, 7)}
    assert next(load_scenario(path).occurrences(devices)).at_s >= 0
