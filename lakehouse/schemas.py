"""Schemas of Kafka's values and of every Delta table; the contract fixes the names.

Tables are flat: the fields of a reading's `measurements` and `signal` are columns. Times in a Kafka value are
text here, because Spark would also accept numbers and times of day as timestamps; `raw` validates them.
"""

from __future__ import annotations

from pyspark.sql.types import (
    ArrayType,
    BinaryType,
    BooleanType,
    DataType,
    DateType,
    DoubleType,
    IntegerType,
    LongType,
    StringType,
    StructField,
    StructType,
    TimestampType,
)

from vitals.limits import VITALS
from vitals.rules import AlertType, Severity

VITAL_FIELDS = tuple(vital.field for vital in VITALS)
CRITICAL_TYPES = tuple(kind for kind in AlertType if kind.severity is Severity.CRITICAL)


def alert_count(kind: AlertType) -> str:
    """Return the name of the column that counts the readings matching a rule."""
    return f"{kind.value.lower()}_alerts"


def _struct(**fields: DataType) -> StructType:
    return StructType([StructField(name, kind) for name, kind in fields.items()])


TEXT, NUMBER, TIME, YES_NO, WHOLE, LONG = (
    StringType(),
    DoubleType(),
    TimestampType(),
    BooleanType(),
    IntegerType(),
    LongType(),
)

SIGNAL = _struct(contact=YES_NO, motion=YES_NO, low_perfusion=YES_NO, battery_pct=WHOLE, site=TEXT)
_IDENTITY = {"message_id": TEXT, "patient_id": TEXT, "device_id": TEXT, "gateway_id": TEXT}
_TIMES = {"timestamp": TIME, "ingestion_timestamp": TIME}
KAFKA_PLACE = {"kafka_topic": TEXT, "kafka_partition": WHOLE, "kafka_offset": LONG}

_TIMES_AS_TEXT = {"timestamp": TEXT, "ingestion_timestamp": TEXT}

MEASUREMENT_VALUE = _struct(
    **_IDENTITY,
    **_TIMES_AS_TEXT,
    source=TEXT,
    seq=LONG,
    boot=LONG,
    device_time=TEXT,
    late=YES_NO,
    api_version=TEXT,
    measurements=_struct(**dict.fromkeys(VITAL_FIELDS, NUMBER)),
    invalid_fields=ArrayType(TEXT),
    quality_score=NUMBER,
    signal=SIGNAL,
)
_ALERT = {
    "type": TEXT,
    "severity": TEXT,
    "value": NUMBER,
    "threshold": NUMBER,
    "message": TEXT,
    "message_fr": TEXT,
}
ALERT_VALUE = _struct(alert_id=TEXT, **_IDENTITY, **_TIMES_AS_TEXT, **_ALERT)
_SIGNAL = {field.name: field.dataType for field in SIGNAL}
STATUS_VALUE = _struct(status_id=TEXT, **_IDENTITY, **_TIMES_AS_TEXT, **_SIGNAL)
_ERROR = {"source": TEXT, "reason": TEXT, "field": TEXT}
_ERROR_ORIGIN = {"device_id": TEXT, "gateway_id": TEXT}
ERROR_VALUE = _struct(error_id=TEXT, timestamp=TEXT, **_ERROR, original=TEXT, **_ERROR_ORIGIN)

RAW = _struct(
    **_IDENTITY,
    **_TIMES,
    source=TEXT,
    seq=LONG,
    boot=LONG,
    device_time=TIME,
    late=YES_NO,
    api_version=TEXT,
    **dict.fromkeys(VITAL_FIELDS, NUMBER),
    invalid_fields=ArrayType(TEXT),
    quality_score=NUMBER,
    **{f.name: f.dataType for f in SIGNAL},
    **KAFKA_PLACE,
)
ALERTS = _struct(alert_id=TEXT, **_IDENTITY, **_TIMES, **_ALERT, **KAFKA_PLACE)
STATUS = _struct(status_id=TEXT, **_IDENTITY, **_TIMES, **_SIGNAL, **KAFKA_PLACE)
ERRORS = _struct(
    error_id=TEXT, timestamp=TIME, **_ERROR, original=BinaryType(), **_ERROR_ORIGIN, **KAFKA_PLACE
)
_ALERT_COUNTS = {alert_count(kind): LONG for kind in CRITICAL_TYPES}
WINDOWS = _struct(
    patient_id=TEXT,
    window_start=TIME,
    window_end=TIME,
    count=LONG,
    received=LONG,
    expected=LONG,
    coverage_pct=NUMBER,
    **{f"{field}_{what}": NUMBER for field in VITAL_FIELDS for what in ("min", "mean", "max")},
    **{f"has_{kind.value.lower()}": YES_NO for kind in CRITICAL_TYPES},
    has_invalid_values=YES_NO,
    **_ALERT_COUNTS,
    alerts=LONG,
    minutes_with_data=LONG,
    minutes_spo2_below_threshold=LONG,
    minutes_with_fever=LONG,
    revision=LONG,
    is_final=YES_NO,
    updated_at=TIME,
)
DAILY = _struct(
    patient_id=TEXT,
    day=DateType(),
    received=LONG,
    minutes_with_data=LONG,
    coverage_pct=NUMBER,
    **{f"{field}_baseline": NUMBER for field in VITAL_FIELDS},
    minutes_spo2_below_threshold=LONG,
    minutes_with_fever=LONG,
    **_ALERT_COUNTS,
    alerts=LONG,
    updated_at=TIME,
)
