"""Conditions that overlap."""

from __future__ import annotations

import pytest

from firmware_sim.faults.active_faults import ActiveFaults, at_once


async def test_first_reason_begins_and_last_ends() -> None:
    conditions, log = ActiveFaults(), list[str]()
    begin, end = at_once(lambda: log.append("begin")), at_once(lambda: log.append("end"))
    first = conditions.hold("a", "off", begin, end)
    second = conditions.hold("a", "off", begin, end)
    await first.__aenter__()
    await second.__aenter__()
    await first.__aexit__(None, None, None)
    assert log == ["begin"]
    await second.__aexit__(None, None, None)
    assert log == ["begin", "end"]


async def test_others_are_not_concerned() -> None:
    conditions, log = ActiveFaults(), list[str]()
    begin = at_once(lambda: log.append("begin"))
    async with (
        conditions.hold("a", "off", begin, at_once(lambda: None)),
        conditions.hold("b", "off", begin, at_once(lambda: None)),
    ):
        assert log == ["begin", "begin"]


async def test_end_is_carried_out_when_the_block_fails() -> None:
    conditions, log = ActiveFaults(), list[str]()
    with pytest.raises(ValueError, match="broken"):
        async with conditions.hold("a", "off", at_once(lambda: None), at_once(lambda: log.append("end"))):
            raise ValueError("broken")
    assert log == ["end"]


def test_levels_are_told_at_each_change() -> None:
    conditions, told = ActiveFaults(), list[list[float]]()
    apply = lambda levels: told.append(list(levels))  # noqa: E731
    with conditions.level("a", "slow", 2, apply), conditions.level("a", "slow", 5, apply):
        pass
    assert told == [[2], [2, 5], [2], []]
