"""Faults that last and may overlap: the first one starts the effect, the last one ends it."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager

Step = Callable[[], Awaitable[None]]


class ActiveFaults:
    """Number of active faults of each device, by effect."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[str, str]] = Counter()
        self._levels: dict[tuple[str, str], list[float]] = {}

    @asynccontextmanager
    async def active(self, device: str, effect: str, start: Step, end: Step) -> AsyncIterator[None]:
        """Keep an effect active inside the block.

        Args:
            device: name of the device.
            effect: name of the effect.
            start: called if no other fault has this effect on the device.
            end: called if no other fault with this effect is left.
        """
        key = (device, effect)
        self._counts[key] += 1
        try:
            if self._counts[key] == 1:
                await start()
            yield
        finally:
            self._counts[key] -= 1
            if not self._counts[key]:
                await end()

    @contextmanager
    def level(
        self, device: str, effect: str, value: float, apply: Callable[[list[float]], object]
    ) -> Iterator[None]:
        """Add a level of an effect inside the block.

        Args:
            device: name of the device.
            effect: name of the effect.
            value: the level.
            apply: called with all active levels after each change; with an empty list after the last.
        """
        levels = self._levels.setdefault((device, effect), [])
        levels.append(value)
        apply(levels)
        try:
            yield
        finally:
            levels.remove(value)
            apply(levels)


def as_step(function: Callable[[], object]) -> Step:
    """Wrap a plain function as an asynchronous step."""

    async def step() -> None:
        function()

    return step
