"""Models of the values in the Kafka topics; validation raises pydantic's `ValidationError`."""

from __future__ import annotations

import base64
import binascii
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, field_validator

from vitals.reading import Identifier, Reading, UtcTime


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class MeasurementValue(Reading):
    """A value of the measurements topic."""

    message_id: UUID
    ingestion_timestamp: UtcTime | None = None
    quality_score: float | None = None


class AlertValue(_Value):
    """A value of the alerts topic."""

    alert_id: UUID
    message_id: UUID
    patient_id: Identifier
    device_id: Identifier
    gateway_id: Identifier | None = None
    timestamp: UtcTime
    ingestion_timestamp: UtcTime | None = None
    type: str
    severity: str
    value: float | None = None
    threshold: float | None = None
    message: str = ""
    message_fr: str = ""


class DeviceStatusValue(_Value):
    """A value of the device-status topic."""

    status_id: UUID
    message_id: UUID
    device_id: Identifier
    patient_id: Identifier | None = None
    gateway_id: Identifier | None = None
    timestamp: UtcTime
    ingestion_timestamp: UtcTime | None = None
    contact: bool | None = None
    motion: bool | None = None
    low_perfusion: bool | None = None
    battery_pct: int | None = Field(None, ge=0, le=100)
    site: str | None = None


class ErrorValue(_Value):
    """A value of the errors topic."""

    error_id: UUID
    timestamp: UtcTime
    source: str
    reason: str
    field: str = ""
    original: bytes | None = None
    device_id: str | None = None
    gateway_id: str | None = None

    @field_validator("original", mode="before")
    @classmethod
    def _from_base64(cls, value: object) -> bytes | None:
        if value is None:
            return None
        try:
            return base64.b64decode(value if isinstance(value, str) else b"!", validate=True)
        except (binascii.Error, ValueError):
            raise ValueError("must be base64") from None
