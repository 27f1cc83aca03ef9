"""What the routes take and answer, as OpenAPI shows it; the bodies themselves are parsed from their bytes."""

from __future__ import annotations

from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field
from pydantic.json_schema import models_json_schema

from cloud_ingest.kafka.dead_letter import GatewayError
from cloud_ingest.kafka.record import Store
from vitals.heartbeat import Heartbeat, Name, Text
from vitals.limits import VITALS
from vitals.notices import Group
from vitals.reading import Identifier, Measurements, Number, Reading, UtcTime
from vitals.rules import Alert

_TEMPLATE = "#/components/schemas/{model}"


class Batch(BaseModel):
    """Many readings in one request; each stands for itself."""

    readings: list[Reading] = Field(
        description="At most 10,000; one that is not as described is rejected alone"
    )


class FlatReading(Measurements):
    """The older form: the values beside the patient."""

    patient_id: Identifier = Field(examples=["patient-001-ss"])
    device_id: Identifier = "unknown"
    timestamp: UtcTime | None = Field(None, description="Time of arrival where absent")


class GatewayErrors(BaseModel):
    """Dead letters of a gateway."""

    errors: list[GatewayError] = Field(
        description="At most 10,000; one that is not as described is kept as such"
    )


class Accepted(BaseModel):
    """A reading that is durable."""

    status: Literal["accepted"]
    message_id: UUID
    alerts: list[Alert]
    stored: list[Store] = Field(description="Where it is: acknowledged by Kafka, or in the API's own spool")


class Result(BaseModel):
    """What became of one reading of a batch."""

    status: Literal["accepted", "rejected"]
    message_id: UUID | None
    alerts: list[Alert]
    error: str | None = Field(description="Field and reason of a rejected reading")
    field: str | None = None
    reason: str | None = None


class BatchAccepted(BaseModel):
    """What became of each reading, in the order sent."""

    accepted: int
    rejected: int
    results: list[Result]


class ErrorsAccepted(BaseModel):
    """How many dead letters were kept as sent; rejected ones were kept as dead letters of the API."""

    accepted: int
    rejected: int


class ChildAcknowledgement(BaseModel):
    """Somebody has seen a child's alarms."""

    model_config = ConfigDict(extra="forbid")

    by: Name = Field(description="Who", examples=["Fatou"])
    group: Group | None = Field(None, description="One group of alarms; all that are open where absent")
    minutes: Annotated[Number, Field(gt=0, le=30)] | None = Field(
        None, description="Silence, at most 10 minutes (30 for fever), which is also what an absent one means"
    )


class ConditionAcknowledgement(BaseModel):
    """Somebody has seen a technical condition."""

    model_config = ConfigDict(extra="forbid")

    key: Text = Field(min_length=1, examples=["GATEWAY_SILENT:gw-001"])
    by: Name = Field(description="Who", examples=["Fatou"])
    retire: bool = Field(
        False,
        strict=True,
        description="Of GATEWAY_SILENT: the gateway is out of service; not missed until it is heard again",
    )


class Refused(BaseModel):
    """Why a request was refused."""

    error: str = Field(description="Stable name of the kind of error", examples=["invalid"])
    field: str = Field(
        description="Dotted path; empty when all is at fault", examples=["measurements.spo2_pct"]
    )
    reason: str = Field(examples=["Input should be a valid number"])


class ReadingRefused(Refused):
    """Why a reading was refused; it was kept on the errors topic with its original bytes."""

    message_id: UUID | None = None
    alerts: list[Alert] = Field(
        default=[], description="What a reading quarantined for its time still raised"
    )


MODELS: tuple[type[BaseModel], ...] = (
    Reading,
    Batch,
    FlatReading,
    GatewayErrors,
    Heartbeat,
    ChildAcknowledgement,
    ConditionAcknowledgement,
)

READING: dict[str, Any] = {
    "patient_id": "patient-001-ss",
    "device_id": "bracelet-001",
    "timestamp": "2025-08-24T10:30:00.123456Z",
    "measurements": {"freq_card": 120, "freq_resp": 18, "spo2_pct": 85.0, "temp_corp": 38.5},
}
BACKLOG_READING: dict[str, Any] = READING | {
    "message_id": "7d3c6f4e-33c7-5b0e-9d2b-64f2f6a9c001",
    "seq": 1042,
    "gateway_id": "gw-001",
    "source": "ble",
    "late": True,
    "signal": {"contact": True, "motion": False, "low_perfusion": False, "battery_pct": 80, "site": "wrist"},
}
FLAT: dict[str, Any] = {
    "patient_id": "patient-001-ss",
    "freq_card": 92,
    "freq_resp": 18,
    "spo2_pct": 97.0,
    "temp_corp": 36.8,
}
GATEWAY_ERROR: dict[str, Any] = {
    "error_id": "0c7f3a54-77a1-4b7c-8d6c-3a1c8a6f0b11",
    "timestamp": "2025-08-24T10:30:00Z",
    "source": "gateway",
    "gateway_id": "gw-001",
    "device_id": "bracelet-001",
    "reason": "not JSON",
    "field": "",
    "original": "eyJzcG8yX3BjdCI6",
}


def request_body(models: list[str], examples: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """The `openapi_extra` of a route that parses its own body."""
    references = [{"$ref": _TEMPLATE.format(model=model)} for model in models]
    schema = references[0] if len(references) == 1 else {"anyOf": references}
    shown = {name: {"summary": name, "value": value} for name, value in examples.items()}
    content = {"application/json": {"schema": schema, "examples": shown}}
    text = "UTF-8, at most 8 MiB; with `Content-Encoding: gzip` or `zstd` at most 32 MiB when decompressed."
    return {"requestBody": {"required": True, "content": content, "description": text}}


def component_schemas() -> dict[str, Any]:
    """Schemas of the documents that routes parse themselves."""
    _, definitions = models_json_schema([(model, "validation") for model in MODELS], ref_template=_TEMPLATE)
    schemas: dict[str, Any] = definitions["$defs"]
    for name in ("Measurements", "FlatReading"):
        schemas[name]["anyOf"] = [_measured(vital.field) for vital in VITALS]
    for flag in ("contact", "motion", "low_perfusion"):
        schemas["Signal"]["properties"][flag]["anyOf"].append({"enum": _FLAGS})
    for name, field in (("Batch", "readings"), ("GatewayErrors", "errors")):
        many = schemas[name]["properties"][field]
        many["items"] = {
            "anyOf": [many["items"], {"description": "Anything else: refused without the others"}]
        }
    return schemas


_FLAGS = [0, 1, "0", "1", "off", "on", "f", "t", "false", "true", "n", "y", "no", "yes"]
"""What small devices send for false and true."""


def _measured(field: str) -> dict[str, Any]:
    """The schema of an object that holds a value there: a reading needs at least one."""
    return {"required": [field], "properties": {field: {"type": "number"}}}
