"""Kafka values -> rows of PostgreSQL. Pure: raises `InvalidReading` on a value that is no row."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from pydantic import BaseModel, ValidationError

from cloud_ingest.kafka.messages import AlertValue, DeviceStatusValue, ErrorValue, MeasurementValue
from vitals.errors import InvalidReading
from vitals.heartbeat import KIND as HEARTBEAT
from vitals.limits import VITALS
from vitals.reading import invalid_reading, parse_json
from vitals.topics import ALERTS, DEVICE_STATUS, ERRORS, MEASUREMENTS

Row = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Table:
    """Where a topic's values go.

    Attributes:
        columns: in the order of the rows; the identity comes first.
        row: one decoded value as a row.
    """

    name: str
    columns: tuple[str, ...]
    row: Callable[[object], Row]

    @property
    def timestamp(self) -> int:
        """Where in a row its time stands."""
        return self.columns.index("timestamp")

    @property
    def patient(self) -> int | None:
        """Where in a row its patient stands, where it has one."""
        return self.columns.index("patient_id") if "patient_id" in self.columns else None

    @property
    def insert(self) -> str:
        """The statement, for `execute_values`."""
        return f"INSERT INTO {self.name} ({', '.join(self.columns)}) VALUES %s ON CONFLICT DO NOTHING"


def row_of(table: Table, value: bytes | None) -> Row | None:
    """The row of one Kafka value; None for a gateway's heartbeat, which the alarms process keeps.

    Raises:
        InvalidReading: the value is none of this topic.
    """
    if value is None:
        raise InvalidReading("", "no value")
    document = parse_json(value)
    if table is TABLES[DEVICE_STATUS] and isinstance(document, dict) and document.get("kind") == HEARTBEAT:
        return None
    try:
        return table.row(document)
    except ValidationError as error:
        raise invalid_reading(error) from None


def error_row(error_id: UUID, noticed: Any, reason: str, original: bytes | None) -> Row:
    """A row of the errors table for a dead letter that could not be read itself."""
    return (str(error_id), noticed, "recorder", clean(reason), "", original, None, None)


def clean(text: Any) -> Any:
    """Text as PostgreSQL can hold it: it knows no NUL."""
    return text.replace("\0", "\ufffd") if isinstance(text, str) else text


_MEASUREMENT = (
    "message_id", "patient_id", "device_id", "gateway_id", "timestamp", "ingestion_timestamp",
    *(vital.field for vital in VITALS), "invalid_fields", "quality_score", "source", "late", "seq",
    "contact", "motion", "low_perfusion", "battery_pct",
)  # fmt: skip


def _measurement(document: object) -> Row:
    reading = MeasurementValue.model_validate(document)
    values, signal = reading.measurements, reading.signal
    return (
        str(reading.message_id),
        reading.patient_id,
        reading.device_id,
        reading.gateway_id,
        reading.timestamp,
        reading.ingestion_timestamp,
        *[getattr(values, vital.field) for vital in VITALS],
        list(values.invalid_fields),
        reading.quality_score,
        reading.source.value if reading.source else None,
        reading.late,
        reading.seq,
        *(
            (signal.contact, signal.motion, signal.low_perfusion, signal.battery_pct)
            if signal
            else (None,) * 4
        ),
    )


def _plain(model: type[BaseModel]) -> Callable[[object], Row]:
    """Row maker of a model whose fields are the columns."""
    fields = tuple(model.model_fields)

    def row(document: object) -> Row:
        value = model.model_validate(document)
        return tuple(_sql(getattr(value, field)) for field in fields)

    return row


def _sql(value: Any) -> Any:
    return str(value) if isinstance(value, UUID) else clean(value)


TABLES: Mapping[str, Table] = {
    MEASUREMENTS: Table("measurements", _MEASUREMENT, _measurement),
    ALERTS: Table("alerts", tuple(AlertValue.model_fields), _plain(AlertValue)),
    DEVICE_STATUS: Table("device_status", tuple(DeviceStatusValue.model_fields), _plain(DeviceStatusValue)),
    ERRORS: Table("ingestion_errors", tuple(ErrorValue.model_fields), _plain(ErrorValue)),
}
