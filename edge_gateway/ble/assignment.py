"""A bracelet of the gateway's list and the patient who wears it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class DeviceAssignment:
    """One entry of the list."""

    device_id: str
    patient_id: str
