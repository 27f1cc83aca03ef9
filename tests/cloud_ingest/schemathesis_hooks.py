"""What no schema can say, for schemathesis: which moments are over, and how whole numbers are written."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import schemathesis
from hypothesis import strategies as st

PAST = st.datetimes(datetime(1970, 1, 1), datetime(2026, 1, 1), timezones=st.just(UTC))
WHOLE = ("seq", "boot", "battery_pct", "outbox_pending")

# A moment more than five minutes ahead is quarantined with 422, which the schema cannot express.
schemathesis.openapi.format("date-time", PAST.map(datetime.isoformat))


@schemathesis.hook
def map_body(_context: schemathesis.HookContext, body: Any) -> Any:
    """JSON Schema counts 1.0 among the integers; the contract wants them written without a fraction."""
    return _whole(body)


def _whole(value: Any, name: str = "") -> Any:
    if isinstance(value, dict):
        return {key: _whole(each, key) for key, each in value.items()}
    if isinstance(value, list):
        return [_whole(each) for each in value]
    return int(value) if name in WHOLE and isinstance(value, float) and value.is_integer() else value
