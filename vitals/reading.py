"""One reading of a bracelet, the same over HTTP, MQTT and Kafka: the one schema."""

from __future__ import annotations

from codecs import BOM_UTF8
from datetime import UTC, datetime
from enum import StrEnum
from functools import cached_property
from typing import Annotated, Any, Self
from uuid import UUID, uuid5

from pydantic import (
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)
from pydantic_core import from_json

from vitals.errors import InvalidReading
from vitals.limits import BY_FIELD, VITALS

NAMESPACE = UUID("5f1d7b0e-2c7a-5e4b-9a64-6b69646a616d")
"""Namespace of every identifier this project derives with UUID version 5."""


_LONGEST_DATE = len("2025-08-24")


def _in_utc(value: object) -> object:
    """A timestamp without a zone is UTC; a number is not a timestamp."""
    if isinstance(value, str):
        try:
            if len(value) <= _LONGEST_DATE:
                raise ValueError("a date without a time")
            value = datetime.fromisoformat(value.upper())  # RFC 3339 has t and z, too
        except ValueError:
            raise ValueError("must be an ISO 8601 date and time, as in 2025-08-24T10:30:00Z") from None
    if not isinstance(value, datetime):
        raise ValueError("must be an ISO 8601 date and time in a string")
    if value.tzinfo is None:
        return value.replace(tzinfo=UTC)
    try:
        return value.astimezone(UTC)
    except OverflowError:
        raise ValueError("lies outside the years 1 to 9999") from None


def _only_text(value: object) -> object:
    """An enumeration quotes whatever it is given, even a thousand nested lists: it gets none."""
    if not isinstance(value, str):
        raise ValueError("must be a string")
    return value


def _whole(value: object) -> object:
    """A whole number written with a fraction of zero, as some encoders write all numbers, is one."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Counter = Annotated[int, Field(strict=True, ge=0, lt=2**63), BeforeValidator(_whole)]
Identifier = Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[^\x00-\x1f\x7f/+#]+$")]
UtcTime = Annotated[AwareDatetime, BeforeValidator(_in_utc)]


class Source(StrEnum):
    """How a reading reached us first."""

    BLE = "ble"
    MQTT = "mqtt"
    API = "api"


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class Measurements(_Frozen):
    """The four vitals of one moment; a bracelet does not measure all of them each time.

    Values are kept as sent, plausible or not: `vitals.limits` judges them.
    """

    spo2_pct: Number | None = Field(None, description="Peripheral oxygen saturation, %", examples=[97.0])
    freq_card: Number | None = Field(None, description="Heart rate, /min", examples=[92])
    freq_resp: Number | None = Field(None, description="Respiratory rate, /min", examples=[18])
    temp_corp: Number | None = Field(None, description="Body temperature, °C", examples=[36.8])

    @model_validator(mode="after")
    def _at_least_one(self) -> Self:
        if set(vars(self).values()) == {None}:
            raise ValueError(f"at least one of {', '.join(vital.field for vital in VITALS)} is needed")
        return self

    def present(self) -> dict[str, float]:
        """The values that were measured, by field name."""
        return {vital.field: value for vital in VITALS if (value := getattr(self, vital.field)) is not None}

    @cached_property
    def invalid_fields(self) -> tuple[str, ...]:
        """Fields whose value no body can have, such as the 0 a device reports when its probe is off.

        Judged once a reading: the rules, the quality and the published document all ask. `model_copy` would
        take the verdict along: changed values need a new object.
        """
        present = self.present().items()
        return tuple([field for field, value in present if not BY_FIELD[field].is_plausible(value)])

    def plausible(self, field: str) -> float | None:
        """The value of one vital where it was measured and can be believed."""
        value: float | None = getattr(self, field)
        return None if field in self.invalid_fields else value


class Signal(_Frozen):
    """How well the bracelet could measure."""

    contact: bool | None = Field(None, description="Worn, touching the skin")
    motion: bool | None = Field(None, description="Moving so much that optical values suffer")
    low_perfusion: bool | None = Field(None, description="Too little blood flow under the sensor")
    battery_pct: Annotated[int, Field(strict=True, ge=0, le=100), BeforeValidator(_whole)] | None = Field(
        None, description="Charge, %"
    )
    site: str | None = Field(
        None, max_length=32, description="Where the temperature was taken", examples=["wrist"]
    )


class Reading(_Frozen):
    """What one child's bracelet measured at one moment.

    Attributes:
        timestamp: best known UTC time of the measurement.
        device_time: the bracelet's own time of it, untouched, where that differs in origin.
        message_id: identity of the reading; the same id twice is one reading.
        boot: the bracelet's restart counter, under which `seq` counts.
        late: sent from a backlog rather than live.
    """

    patient_id: Identifier = Field(examples=["patient-001-ss"])
    device_id: Identifier = Field(examples=["bracelet-001"])
    timestamp: UtcTime
    measurements: Measurements
    message_id: UUID | None = None
    seq: Counter | None = None
    boot: Counter | None = None
    device_time: UtcTime | None = None
    gateway_id: Identifier | None = None
    source: Annotated[Source, BeforeValidator(_only_text)] | None = None
    late: Annotated[bool, Field(strict=True)] | None = None
    signal: Signal | None = None

    def to_wire(self) -> dict[str, Any]:
        """The JSON object of this reading, absent fields left out."""
        return self.model_dump(mode="json", exclude_none=True)


def parse_reading(document: object) -> Reading:
    """Check one decoded JSON document against the contract.

    Raises:
        InvalidReading: names the first field at fault and why.
    """
    try:
        return Reading.model_validate(document)
    except ValidationError as error:
        raise invalid_reading(error) from None


def parse_json(data: bytes | str) -> Any:
    """Decode JSON as the contract reads it: UTF-8 (a byte order mark is passed over), no NaN, no infinities.

    Depth is bounded at some 200, far below the interpreter's own: what is decoded can be encoded again.

    Raises:
        InvalidReading: not JSON, or nested too deeply to be a reading.
    """
    encoded = data.encode(errors="surrogatepass") if isinstance(data, str) else data
    raw = encoded.removeprefix(BOM_UTF8)
    try:
        return from_json(raw, allow_inf_nan=False)
    except ValueError as error:
        raise InvalidReading("", _why_not_json(raw, str(error))) from None


def _why_not_json(raw: bytes, complaint: str) -> str:
    if complaint.startswith("recursion limit"):
        return "nested too deeply"
    try:
        from_json(raw, allow_inf_nan=True)
    except ValueError:
        return f"not JSON: {complaint}"
    return f"not JSON, which has no NaN and no Infinity: {complaint}"


_PLAINLY = {
    "string_pattern_mismatch": "holds a character that is not allowed there",
    "string_unicode": "must be Unicode text",
    "uuid_parsing": "must be a UUID",
}
"""Our words for complaints of pydantic that quote a piece of the value or say nothing to a person."""


def invalid_reading(error: ValidationError) -> InvalidReading:
    """The first complaint of pydantic, without the value it complains of."""
    first = error.errors(include_url=False, include_input=False)[0]
    return InvalidReading(".".join(str(part) for part in first["loc"]), plainly(first["type"], first["msg"]))


def plainly(kind: str, message: str) -> str:
    """A complaint of pydantic, by its type and message, in words that quote nothing."""
    return _PLAINLY.get(kind) or message.removeprefix("Value error, ")


def derived_message_id(device_id: str, boot: int, seq: int, device_time_ms: int) -> UUID:
    """Identity of a reading that a bracelet numbered, the same each time it is fetched.

    The restart counter and the bracelet's own clock stand beside the sequence number, because that one starts
    again at a reboot and the clock starts again when the battery was empty.
    """
    return uuid5(NAMESPACE, f"{device_id}/{boot}/{seq}/{device_time_ms}")
