"""Timestamps in the past for schemathesis, a condition no schema can express."""

from __future__ import annotations

from datetime import UTC, datetime

import schemathesis
from hypothesis import strategies as st

PAST = st.datetimes(datetime(1970, 1, 1), datetime(2026, 1, 1), timezones=st.just(UTC))

# A timestamp more than five minutes ahead is quarantined with 422.
schemathesis.openapi.format("date-time", PAST.map(datetime.isoformat))
