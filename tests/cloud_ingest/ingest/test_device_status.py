from uuid import UUID

import pytest

from cloud_ingest.ingest import device_status
from cloud_ingest.ingest.device_status import DeviceStatusGate
from tests.cloud_ingest.samples import reading
from vitals.reading import Reading, parse_reading

IDS = [UUID(int=number) for number in range(9)]


def at(seconds: int, battery: int = 80, device: str = "b1", late: bool = False) -> Reading:
    minute, second = divmod(seconds, 60)
    return parse_reading(
        reading(
            device_id=device,
            timestamp=f"2025-08-24T10:{minute:02}:{second:02}Z",
            late=late,
            signal={"battery_pct": battery},
        )
    )


def test_gate_passes_the_first_state_each_change_and_once_a_minute() -> None:
    gate = DeviceStatusGate()
    assert gate.due(at(0), IDS[0])
    assert not gate.due(at(59), IDS[1])
    assert gate.due(at(60), IDS[2])
    assert gate.due(at(61, battery=79), IDS[3])
    assert not gate.due(at(62, battery=79), IDS[4])


def test_gate_returns_the_same_for_a_repeated_reading() -> None:
    gate = DeviceStatusGate()
    assert gate.due(at(0), IDS[0])
    assert gate.due(at(0), IDS[0])


def test_gate_tracks_devices_and_late_readings_separately() -> None:
    gate = DeviceStatusGate()
    assert [gate.due(at(0, device=device), IDS[0]) for device in ("a", "b")] == [True, True]
    assert gate.due(at(1800, device="a", late=True), IDS[1])
    assert not gate.due(at(1, device="a"), IDS[2])
    assert not gate.due(at(1801, device="a", late=True), IDS[3])


def test_gate_does_not_pass_a_reading_without_signal() -> None:
    assert not DeviceStatusGate().due(parse_reading(reading()), IDS[0])


def test_gate_drops_the_least_recent_device_above_the_maximum(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device_status, "MAX_DEVICES", 3)
    gate = DeviceStatusGate()
    for device in "abcd":
        gate.due(at(0, device=device), IDS[0])
    assert not gate.due(at(1, device="b"), IDS[1])
    assert gate.due(at(1, device="a"), IDS[1])
