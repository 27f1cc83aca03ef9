"""Sample readings, and Hypothesis strategies for variations."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from vitals.reading import Reading, parse_reading

PLAUSIBLE = {"spo2_pct": (0, 100), "freq_card": (0, 300), "freq_resp": (0, 120), "temp_corp": (25, 45)}
"""The ranges of the contract, repeated here to be independent of the code."""


def document(**changes: Any) -> dict[str, Any]:
    """A valid document with some fields replaced."""
    return {
        "patient_id": "patient-001-ss",
        "device_id": "bracelet-001",
        "timestamp": "2025-08-24T10:30:00.123456Z",
        "measurements": {"freq_card": 92, "freq_resp": 18, "spo2_pct": 97.0, "temp_corp": 36.8},
    } | changes


def measured(**vitals: float) -> Reading:
    """A reading with only these vitals."""
    return parse_reading(document(measurements=vitals))


def inside(field: str) -> st.SearchStrategy[float]:
    """Values strictly inside the plausible range of one vital, down to the smallest float above it."""
    low, high = PLAUSIBLE[field]
    return st.floats(low, high, exclude_min=True, exclude_max=True)


def outside(field: str) -> st.SearchStrategy[float]:
    """Implausible finite values, including the 0 of a probe that is off."""
    low, high = PLAUSIBLE[field]
    below = st.floats(max_value=low, exclude_max=field == "temp_corp", allow_infinity=False)
    above = st.floats(min_value=high, exclude_min=True, allow_infinity=False)
    return st.just(0.0) | below | above


def any_value(field: str) -> st.SearchStrategy[float]:
    """Any number a device may send."""
    return inside(field) | outside(field)


def any_vitals() -> st.SearchStrategy[dict[str, float]]:
    """At least one vital, each with any number."""
    fields = {field: any_value(field) for field in PLAUSIBLE}
    return st.fixed_dictionaries({}, optional=fields).filter(bool)


ANY_TEXT = st.text(st.characters(exclude_categories=()))
"""Any text, including lone surrogates and control characters."""

ANY_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([10**400, -(10**400), 2**63, 2**64])
    | st.floats()
    | ANY_TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(ANY_TEXT, inner, max_size=4),
    max_leaves=8,
)
"""Any result of a JSON decoder, including NaN and infinities."""
