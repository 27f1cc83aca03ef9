"""Where a setting stands in a TOML text.

`tomllib` tells no positions, so it is asked where a setting begins to exist: the text up to some line holds
it, the text up to the line before does not. What TOML allows (dotted and quoted keys, inline tables, texts of
several lines, lines that look like settings inside them) is thereby understood as it is when it is loaded.
"""

from __future__ import annotations

import tomllib
from bisect import bisect_left
from collections.abc import Sequence
from typing import Any


def line_of(text: str, path: Sequence[str | int]) -> int | None:
    """The line, from 1, on which a setting begins, or else the section it belongs to; None for neither.

    Args:
        text: valid TOML.
        path: keys, and numbers from 0 in arrays.
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
    """What stands on the first lines, together with the rest of a statement that is cut in two."""
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
