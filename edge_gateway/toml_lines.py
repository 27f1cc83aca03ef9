"""Finds the line of a setting in a TOML document.

`tomllib` reports no positions, so a binary search finds the first line up to which the parsed text contains
the setting. Dotted keys, quoted keys, inline tables and multi-line strings are handled as the parser does.
"""

from __future__ import annotations

import tomllib
from bisect import bisect_left
from collections.abc import Sequence
from typing import Any


def line_of(text: str, path: Sequence[str | int]) -> int | None:
    """Return the line, from 1, on which a setting or else its section begins; None if there is neither.

    Args:
        text: valid TOML.
        path: keys, and indices from 0 in arrays.
    """
    lines, document = text.replace("\r\n", "\n").split("\n"), tomllib.loads(text)
    while path and not _holds(document, path):
        path = path[:-1]
    if not path:
        return None
    return 1 + bisect_left(
        range(1, len(lines) + 1), True, key=lambda number: _holds(_up_to(lines, number), path)
    )


def _up_to(lines: list[str], number: int) -> dict[str, Any]:
    """Parse the first lines, and as many more as are needed to complete the last statement."""
    for end in range(number, len(lines)):
        try:
            return tomllib.loads("\n".join(lines[:end]))
        except tomllib.TOMLDecodeError:
            continue
    return tomllib.loads("\n".join(lines))


def _holds(value: Any, path: Sequence[str | int]) -> bool:
    for part in path:
        try:
            value = value[part]
        except (KeyError, IndexError, TypeError):
            return False
    return True
