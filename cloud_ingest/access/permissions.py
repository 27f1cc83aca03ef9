"""The caller of a request, and what it is allowed to do."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from cloud_ingest.errors import NotAllowed
from vitals.reading import Reading

FOREIGN_DEVICE = "the gateway is not registered for this device"
FOREIGN_GATEWAY = "is not the gateway of the token"
FOREIGN_PATIENT = "the gateway is not registered for this patient"


class Scope(StrEnum):
    """What a token allows."""

    READINGS_WRITE = "readings:write"
    ERRORS_WRITE = "errors:write"
    METRICS_READ = "metrics:read"
    ALARMS_READ = "alarms:read"
    ALARMS_WRITE = "alarms:write"
    PATIENTS_ERASE = "patients:erase"


GATEWAY_SCOPES = frozenset({Scope.READINGS_WRITE, Scope.ERRORS_WRITE})
"""The scopes a gateway needs."""


@dataclass(frozen=True, slots=True)
class Caller:
    """The sender of a request.

    Attributes:
        gateway_id: the registered gateway; None where authentication is off.
        devices, patients: whose readings it may send; None for all.
    """

    gateway_id: str | None
    scopes: frozenset[Scope]
    devices: frozenset[str] | None
    patients: frozenset[str] | None = None

    def authorize_reading(self, reading: Reading) -> None:
        """Check that the caller may send this reading.

        Raises:
            NotAllowed: the gateway, the device or the patient is not the caller's.
        """
        self.authorize_gateway(reading.gateway_id, reading.device_id)
        self.authorize_patients("patient_id", (reading.patient_id,))

    def authorize_gateway(self, gateway_id: str | None, device_id: str | None = None) -> None:
        """Check the gateway, and the device if any, that a document names.

        Raises:
            NotAllowed: another gateway, or a device the caller is not registered for.
        """
        if self.gateway_id is not None and gateway_id not in (None, self.gateway_id):
            raise NotAllowed("gateway_id", FOREIGN_GATEWAY, gateway_id)
        if self.devices is not None and device_id is not None and device_id not in self.devices:
            raise NotAllowed("device_id", FOREIGN_DEVICE, device_id)

    def authorize_patients(self, field: str, patients: Iterable[str]) -> None:
        """Check the patients that a field of a document names.

        Raises:
            NotAllowed: the caller is not registered for one of them. The error does not name the patient,
                because it is written to the audit log.
        """
        if self.patients is not None and not self.patients.issuperset(patients):
            raise NotAllowed(field, FOREIGN_PATIENT, None)


ANYONE = Caller(None, frozenset(Scope), None)
"""The caller where authentication is off."""
