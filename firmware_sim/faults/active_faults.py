"""Conditions that last and may overlap: the first reason sets one in, the last to go ends it."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager

Step = Callable[[], Awaitable[None]]


class ActiveFaults:
    """Who is in which condition, and for how many reasons."""

    def __init__(self) -> None:
        self._reasons: Counter[tuple[str, str]] = Counter()
        self._levels: dict[tuple[str, str], list[float]] = {}

    @asynccontextmanager
    async def hold(self, who: str, condition: str, begin: Step, end: Step) -> AsyncIterator[None]:
        """Be in a condition inside the block.

        Args:
            begin: carried out where there was no other reason.
            end: carried out where no other reason is left.
        """
        key = (who, condition)
        self._reasons[key] += 1
        try:
            if self._reasons[key] == 1:
                await begin()
            yield
        finally:
            self._reasons[key] -= 1
            if not self._reasons[key]:
                await end()

    @contextmanager
    def level(
        self, who: str, condition: str, value: float, apply: Callable[[list[float]], object]
    ) -> Iterator[None]:
        """Add a level inside the block.

        Args:
            apply: given all levels at each change; none where the last has gone.
        """
        levels = self._levels.setdefault((who, condition), [])
        levels.append(value)
        apply(levels)
        try:
            yield
        finally:
            levels.remove(value)
            apply(levels)


def at_once(do: Callable[[], object]) -> Step:
    """A step that takes no time."""

    async def doing() -> None:
        do()

    return doing
