"""Recovery of the valid readings of a batch that is not JSON because some of its readings are not."""

from __future__ import annotations

import re
from dataclasses import dataclass

from vitals.errors import InvalidReading
from vitals.reading import parse_json

_START = re.compile(rb'\s*\{\s*"readings"\s*:\s*\[')
_TOKEN = re.compile(rb'"(?:[^"\\]++|\\.)*+"|[\[\]{},]', re.DOTALL)


@dataclass(frozen=True, slots=True)
class Unreadable:
    """An element of a batch that is not JSON.

    Attributes:
        error: why.
        original: its bytes.
    """

    error: InvalidReading
    original: bytes


def readings_of(body: bytes) -> list[object] | None:
    """Decode the elements of `{"readings": […]}` one by one; those that are not JSON become `Unreadable`.

    The elements are separated by looking at strings, brackets and commas only.

    Returns:
        None where there is no such list, or its brackets do not close.
    """
    if not (start := _START.match(body)):
        return None
    readings: list[object] = []
    depth, element_start = 0, start.end()
    for token in _TOKEN.finditer(body, element_start):
        match token[0]:
            case b"[" | b"{":
                depth += 1
            case b"]" | b"}" if depth:
                depth -= 1
            case b"," | b"]" if not depth:
                readings.append(_decode(body[element_start : token.start()]))
                element_start = token.end()
                if token[0] == b"]":
                    return readings
            case b"}":
                return None
    return None


def _decode(data: bytes) -> object:
    try:
        return parse_json(data)
    except InvalidReading as error:
        return Unreadable(error, data)
