"""Whether this machine's clock is synchronised. Known on Linux only."""

from __future__ import annotations

import ctypes

_TIME_ERROR = 5
_TIMEX_BYTES = 256
"""More than `struct timex` (208 bytes on 64-bit Linux). Its first field, `modes`, is 0: read only."""


def is_synchronised() -> bool | None:
    """Return whether the kernel's clock follows a time server (adjtimex(2)); None if unknown."""
    try:
        state = ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(_TIMEX_BYTES))
    except (OSError, AttributeError):
        return None
    return None if state < 0 else state != _TIME_ERROR
