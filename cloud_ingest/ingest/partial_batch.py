"""A batch that is no JSON because one of its readings is none: the others still count."""

from __future__ import annotations

import re
from dataclasses import dataclass

from vitals.errors import InvalidReading
from vitals.reading import parse_json

_BEGIN = re.compile(rb'\s*\{\s*"readings"\s*:\s*\[')
_TOKEN = re.compile(rb'"(?:[^"\\]++|\\.)*+"|[\[\]{},]', re.DOTALL)


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A part that is no JSON.

    Attributes:
        error: why.
        original: its bytes.
    """

    error: InvalidReading
    original: bytes


def readings_of(body: bytes) -> list[object] | None:
    """What is between the brackets of `{"readings": […]}`, decoded part by part where that is possible.

    Only strings and brackets are looked at to find where a part ends.

    Returns:
        None where the brackets do not close, or there is no such list.
    """
    if not (begin := _BEGIN.match(body)):
        return None
    parts: list[object] = []
    depth, start = 0, begin.end()
    for token in _TOKEN.finditer(body, start):
        match token[0]:
            case b"[" | b"{":
                depth += 1
            case b"]" | b"}" if depth:
                depth -= 1
            case b"," | b"]" if not depth:
                parts.append(_part(body[start : token.start()]))
                start = token.end()
                if token[0] == b"]":
                    return parts
            case b"}":
                return None
    return None


def _part(data: bytes) -> object:
    try:
        return parse_json(data)
    except InvalidReading as error:
        return Unreadable(error, data)
