"""Faults that overlap."""

from __future__ import annotations

import pytest

from firmware_sim.faults.active_faults import ActiveFaults, as_step


async def test_active_overlapping_starts_once_and_ends_once() -> None:
    faults, log = ActiveFaults(), list[str]()
    begin, end = as_step(lambda: log.append("begin")), as_step(lambda: log.append("end"))
    first = faults.active("a", "off", begin, end)
    second = faults.active("a", "off", begin, end)
    await first.__aenter__()
    await second.__aenter__()
    await first.__aexit__(None, None, None)
    assert log == ["begin"]
    await second.__aexit__(None, None, None)
    assert log == ["begin", "end"]


async def test_active_devices_are_independent() -> None:
    faults, log = ActiveFaults(), list[str]()
    begin = as_step(lambda: log.append("begin"))
    async with (
        faults.active("a", "off", begin, as_step(lambda: None)),
        faults.active("b", "off", begin, as_step(lambda: None)),
    ):
        assert log == ["begin", "begin"]


async def test_active_ends_when_the_block_fails() -> None:
    faults, log = ActiveFaults(), list[str]()
    with pytest.raises(ValueError, match="broken"):
        async with faults.active("a", "off", as_step(lambda: None), as_step(lambda: log.append("end"))):
            raise ValueError("broken")
    assert log == ["end"]


def test_level_applies_all_levels_at_each_change() -> None:
    faults, applied = ActiveFaults(), list[list[float]]()
    apply = lambda levels: applied.append(list(levels))  # noqa: E731
    with faults.level("a", "slow", 2, apply), faults.level("a", "slow", 5, apply):
        pass
    assert applied == [[2], [2, 5], [2], []]
