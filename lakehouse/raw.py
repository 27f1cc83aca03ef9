"""Kafka messages -> rows of the append-only tables. Pure: DataFrame -> DataFrame.

A message is parsed once (`parsed`); messages the lake cannot use become rows of raw/errors with their bytes.
"""

from __future__ import annotations

from functools import reduce

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F  # noqa: N812
from pyspark.sql.types import StringType, StructField, StructType

from lakehouse import schemas
from vitals import topics
from vitals.reading import NAMESPACE
from vitals.rules import Severity

_CORRUPT = "_corrupt"
_VALUES: dict[str, StructType] = {
    topics.MEASUREMENTS: schemas.MEASUREMENT_VALUE,
    topics.ALERTS: schemas.ALERT_VALUE,
    topics.DEVICE_STATUS: schemas.STATUS_VALUE,
    topics.ERRORS: schemas.ERROR_VALUE,
}
_NEEDED = {
    topics.MEASUREMENTS: ("message_id", "patient_id", "device_id", "timestamp", "measurements"),
    topics.ALERTS: ("alert_id", "patient_id", "timestamp", "type", "severity"),
    topics.DEVICE_STATUS: ("status_id", "device_id", "timestamp"),
    topics.ERRORS: ("error_id", "reason"),
}
_TIMES = {"timestamp", "ingestion_timestamp", "device_time"}
_DATE_AND_TIME = r"^\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}"


def from_kafka(messages: DataFrame) -> DataFrame:
    """Rename Kafka's columns to the names used in the tables."""
    return messages.select(
        F.col("topic").alias("kafka_topic"),
        F.col("partition").alias("kafka_partition"),
        F.col("offset").alias("kafka_offset"),
        "value",
    )


def parsed(messages: DataFrame) -> DataFrame:
    """Add the parsed value, in a column named after the topic, and `fault`.

    `fault` says why the lake cannot use a message; null if it can.

    Args:
        messages: as `from_kafka` returns them.
    """
    with_values = messages.withColumns(
        {topic: F.when(F.col("kafka_topic") == topic, _parsed_value(topic)) for topic in topics.KAFKA_TOPICS}
    )
    fault = F.when(F.col("value").isNull(), "no value")
    fault = fault.when(~F.is_valid_utf8(F.col("value").cast("string")), "not UTF-8")
    for topic in topics.KAFKA_TOPICS:
        fault = fault.when(F.col("kafka_topic") == topic, _fault(topic))
    return with_values.withColumn("fault", fault)


def summary(messages: DataFrame) -> DataFrame:
    """Count the messages of a micro-batch: `kafka_topic, readable, critical, count, newest` (µs since 1970).

    Args:
        messages: as `parsed` returns them.
    """
    times = F.coalesce(*(_moment(F.col(f"`{topic}`.timestamp")) for topic in topics.KAFKA_TOPICS))
    severity = F.coalesce(F.col(f"`{topics.ALERTS}`.severity"), F.lit(""))
    readable = F.col("fault").isNull()
    return messages.groupBy(
        "kafka_topic", readable.alias("readable"), (severity == Severity.CRITICAL.value).alias("critical")
    ).agg(F.count("*").alias("count"), F.max(F.when(readable, F.unix_micros(times))).alias("newest"))


def measurements(messages: DataFrame) -> DataFrame:
    """Return readable readings as rows of raw/iot_measurements (`schemas.RAW`).

    Args:
        messages: as `parsed` returns them.
    """
    return _rows(messages, topics.MEASUREMENTS, schemas.RAW)


def alerts(messages: DataFrame) -> DataFrame:
    """Return readable alerts as rows of bronze/iot_alerts (`schemas.ALERTS`)."""
    return _rows(messages, topics.ALERTS, schemas.ALERTS)


def device_status(messages: DataFrame) -> DataFrame:
    """Return readable device states as rows of bronze/device_status (`schemas.STATUS`)."""
    return _rows(messages, topics.DEVICE_STATUS, schemas.STATUS)


def errors(messages: DataFrame) -> DataFrame:
    """Return dead letters and unreadable messages as rows of raw/errors (`schemas.ERRORS`)."""
    return _rows(messages, topics.ERRORS, schemas.ERRORS).unionByName(_unreadable(messages))


def _parsed_value(topic: str) -> Column:
    schema = StructType([*_VALUES[topic].fields, StructField(_CORRUPT, StringType())])
    options = {
        "mode": "PERMISSIVE",
        "columnNameOfCorruptRecord": _CORRUPT,
        "allowNonNumericNumbers": "false",
    }
    return F.from_json(F.col("value").cast("string"), schema, options)


def _fault(topic: str) -> Column:
    """Return why a message of this topic cannot be used; null if it can."""
    value = F.col(f"`{topic}`")
    fault = F.when(value.isNull() | value[_CORRUPT].isNotNull(), "not the JSON document this topic carries")
    for name in _NEEDED[topic]:
        fault = fault.when(value[name].isNull(), f"{name} is missing")
    if topic == topics.MEASUREMENTS:
        absent = (value["measurements"][field].isNull() for field in schemas.VITAL_FIELDS)
        fault = fault.when(reduce(lambda a, b: a & b, absent), "measurements has no value")
    for name in sorted(_TIMES & set(_VALUES[topic].fieldNames())):
        malformed = value[name].isNotNull() & _moment(value[name]).isNull()
        fault = fault.when(malformed, f"{name} is not an ISO 8601 date and time of the years 1 to 9999")
    return fault


def _moment(text: Column) -> Column:
    """Parse text as a UTC time; null if it is not one."""
    moment = text.try_cast("timestamp")
    return F.when(text.rlike(_DATE_AND_TIME) & F.year(moment).between(1, 9999), moment)


def _rows(messages: DataFrame, topic: str, schema: StructType) -> DataFrame:
    """Return the readable messages of one topic as rows of a table: `select` is the contract."""
    readable = messages.where((F.col("kafka_topic") == topic) & F.col("fault").isNull())
    return readable.select(*(_column(topic, field).alias(field.name) for field in schema))


def _column(topic: str, field: StructField) -> Column:
    if field.name in schemas.KAFKA_PLACE:
        return F.col(field.name)
    value = F.col(f"`{topic}`")
    if field.name in _TIMES:
        return _moment(value[field.name])
    if field.name == "original":
        return _decoded(value[field.name])
    if field.name in _VALUES[topic].fieldNames():
        return value[field.name]
    return value["measurements" if field.name in schemas.VITAL_FIELDS else "signal"][field.name]


def _decoded(original: Column) -> Column:
    """Decode base64; text that is not base64 is kept as its own bytes."""
    return F.coalesce(F.try_to_binary(original, F.lit("base64")), F.encode(original, "UTF-8"))


def _unreadable(messages: DataFrame) -> DataFrame:
    position = F.concat_ws("/", "kafka_topic", "kafka_partition", "kafka_offset")
    null = F.lit(None).cast("string")
    return messages.where(F.col("fault").isNotNull()).select(
        _uuid5(position).alias("error_id"),
        F.current_timestamp().alias("timestamp"),
        F.lit("lake").alias("source"),
        F.concat(position, F.lit(": "), "fault").alias("reason"),
        F.lit("").alias("field"),
        F.col("value").alias("original"),
        null.alias("device_id"),
        null.alias("gateway_id"),
        *schemas.KAFKA_PLACE,
    )


def _uuid5(name: Column) -> Column:
    """Return `uuid5(NAMESPACE, name)`, computed from a SHA-1 as in RFC 9562, section 5.5."""
    digest = F.sha1(F.concat(F.unhex(F.lit(NAMESPACE.hex)), F.encode(name, "UTF-8")))
    variant = F.translate(F.substring(digest, 17, 1), "0123456789abcdef", "89ab" * 4)
    return F.concat_ws(
        "-",
        F.substring(digest, 1, 8),
        F.substring(digest, 9, 4),
        F.concat(F.lit("5"), F.substring(digest, 14, 3)),
        F.concat(variant, F.substring(digest, 18, 3)),
        F.substring(digest, 21, 12),
    )
