"""Whether this machine's own clock can be believed. Linux only; elsewhere nobody knows."""

from __future__ import annotations

import ctypes

_TIME_ERROR = 5
_TIMEX_BYTES = 256
"""`struct timex` has 208 bytes on 64-bit Linux; its first field, `modes`, is 0: only look."""


def is_synchronised() -> bool | None:
    """Whether the kernel's clock follows a time server (adjtimex(2)); None where that cannot be asked."""
    try:
        state = ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(_TIMEX_BYTES))
    except (OSError, AttributeError):
        return None
    return None if state < 0 else state != _TIME_ERROR
