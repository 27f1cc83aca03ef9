"""Who calls, and what they may do."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from cloud_ingest.errors import NotAllowed
from vitals.reading import Reading

FOREIGN_DEVICE = "is not a device this gateway may speak for"
FOREIGN_GATEWAY = "is another gateway than the token's"
FOREIGN_PATIENT = "names a patient this gateway may not speak for"


class Scope(StrEnum):
    """What a token opens."""

    READINGS_WRITE = "readings:write"
    ERRORS_WRITE = "errors:write"
    METRICS_READ = "metrics:read"
    ALARMS_READ = "alarms:read"
    ALARMS_WRITE = "alarms:write"
    PATIENTS_ERASE = "patients:erase"


GATEWAY_SCOPES = frozenset({Scope.READINGS_WRITE, Scope.ERRORS_WRITE})
"""What a gateway needs."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Whoever sent a request.

    Attributes:
        gateway_id: the gateway it is registered as; None where authentication is off.
        scopes: what it may do.
        devices, patients: whom it may speak for; None for all.
    """

    gateway_id: str | None
    scopes: frozenset[Scope]
    devices: frozenset[str] | None
    patients: frozenset[str] | None = None

    def vouch(self, reading: Reading) -> None:
        """Check that the caller may send this reading.

        Raises:
            NotAllowed: another gateway's reading, or one of a device or patient it may not speak for.
        """
        self.speak_as(reading.gateway_id, reading.device_id)
        self.care_for("patient_id", (reading.patient_id,))

    def speak_as(self, gateway_id: str | None, device_id: str | None = None) -> None:
        """Check the gateway, and the device, that a document names.

        Raises:
            NotAllowed: another gateway, or a device the caller may not speak for.
        """
        if self.gateway_id is not None and gateway_id not in (None, self.gateway_id):
            raise NotAllowed("gateway_id", FOREIGN_GATEWAY, gateway_id)
        if self.devices is not None and device_id is not None and device_id not in self.devices:
            raise NotAllowed("device_id", FOREIGN_DEVICE, device_id)

    def care_for(self, field: str, patients: Iterable[str]) -> None:
        """Check the patients that a field of a document names.

        Raises:
            NotAllowed: one is somebody else's; it does not say who, for it ends in the audit log.
        """
        if self.patients is not None and not self.patients.issuperset(patients):
            raise NotAllowed(field, FOREIGN_PATIENT, None)


ANYONE = Caller(None, frozenset(Scope), None)
"""The caller where authentication is off."""
