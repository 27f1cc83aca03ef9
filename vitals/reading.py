"""The schema of one reading of a bracelet, the same over HTTP, MQTT and Kafka."""

from __future__ import annotations

from codecs import BOM_UTF8
from datetime import UTC, datetime
from enum import StrEnum
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, Self
from uuid import UUID, uuid5

from pydantic import (
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    create_model,
    model_validator,
)
from pydantic_core import from_json

from vitals.errors import InvalidReading
from vitals.limits import BY_FIELD, VITALS, Vital

NAMESPACE = UUID("5f1d7b0e-2c7a-5e4b-9a64-6b69646a616d")
"""Namespace of the identifiers derived with UUID version 5."""

_LONGEST_DATE = len("2025-08-24")


def _in_utc(value: object) -> object:
    """Convert a timestamp to UTC; one without a zone is UTC, a number is refused."""
    if isinstance(value, str):
        try:
            if len(value) <= _LONGEST_DATE:
                raise ValueError("a date without a time")
            value = datetime.fromisoformat(value.upper())  # RFC 3339 allows t and z
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
    """Refuse anything but text: the error of an enumeration would quote the value, however large."""
    if not isinstance(value, str):
        raise ValueError("must be a string")
    return value


def _described(vital: Vital) -> Any:
    """The optional field of one vital, as the API's schema shows it."""
    name = vital.name_en[0].upper() + vital.name_en[1:]
    return Field(None, description=f"{name}, {vital.unit_shown}", examples=[vital.typical])


def _whole(value: object) -> object:
    """Accept 5.0 for 5: some encoders write every number with a fraction."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Counter = Annotated[int, Field(strict=True, ge=0, lt=2**63), BeforeValidator(_whole)]
Identifier = Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[^\x00-\x1f\x7f/+#]+$")]
UtcTime = Annotated[AwareDatetime, BeforeValidator(_in_utc)]


class Source(StrEnum):
    """The way a reading entered the system."""

    BLE = "ble"
    MQTT = "mqtt"
    API = "api"


class FrozenModel(BaseModel):
    """Immutable model that ignores unknown fields, so that a newer sender is understood."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class _MeasurementsBase(FrozenModel):
    """The vitals of one moment; a bracelet does not measure all of them each time.

    One optional number for each vital of the registry. Values are kept as sent, plausible or not.
    """

    @model_validator(mode="after")
    def _at_least_one(self) -> Self:
        if set(vars(self).values()) == {None}:
            raise ValueError(f"at least one of {', '.join(BY_FIELD)} is needed")
        return self

    def present(self) -> dict[str, float]:
        """Return the measured values by field."""
        return {field: value for field in BY_FIELD if (value := getattr(self, field)) is not None}

    @cached_property
    def invalid_fields(self) -> tuple[str, ...]:
        """Fields with an implausible value, such as the 0 that a device reports when its probe is off.

        Computed once a reading, because rules, quality and the published document all need it. `model_copy`
        would copy the cached result: changed values need a new object.
        """
        present = self.present().items()
        return tuple([field for field, value in present if not BY_FIELD[field].is_plausible(value)])

    def plausible(self, field: str) -> float | None:
        """Return the value of one vital if it was measured and is plausible."""
        value: float | None = getattr(self, field)
        return None if field in self.invalid_fields else value


if TYPE_CHECKING:

    class Measurements(_MeasurementsBase):
        """The fields that type checkers know; see `_MeasurementsBase`."""

        spo2_pct: Number | None = None
        freq_card: Number | None = None
        freq_resp: Number | None = None
        temp_corp: Number | None = None

else:
    Measurements = create_model(
        "Measurements",
        __base__=_MeasurementsBase,
        __module__=__name__,
        __doc__=_MeasurementsBase.__doc__,
        **{vital.field: (Number | None, _described(vital)) for vital in VITALS},
    )


class Signal(FrozenModel):
    """The conditions under which the bracelet measured."""

    contact: bool | None = Field(None, description="Worn, with skin contact")
    motion: bool | None = Field(None, description="Movement that disturbs the optical sensor")
    low_perfusion: bool | None = Field(None, description="Low blood flow under the sensor")
    battery_pct: Annotated[int, Field(strict=True, ge=0, le=100), BeforeValidator(_whole)] | None = Field(
        None, description="Charge, %"
    )
    site: str | None = Field(
        None, max_length=32, description="Where the temperature was taken", examples=["wrist"]
    )


class Reading(FrozenModel):
    """What the bracelet of one child measured at one moment.

    Attributes:
        timestamp: best estimate of the time of measurement, UTC.
        device_time: the time by the bracelet's own clock, where `timestamp` was corrected.
        message_id: identity of the reading; two messages with the same one are one reading.
        boot: the bracelet's restart counter.
        seq: number of the reading since that restart.
        late: sent from a backlog instead of live.
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
        """Return the JSON object of this reading, without absent fields."""
        return self.model_dump(mode="json", exclude_none=True)


def parse_reading(document: object) -> Reading:
    """Validate one decoded JSON document.

    Raises:
        InvalidReading: with the first invalid field and the reason.
    """
    try:
        return Reading.model_validate(document)
    except ValidationError as error:
        raise invalid_reading(error) from None


def parse_json(data: bytes | str) -> Any:
    """Decode JSON in UTF-8; a byte order mark is skipped, NaN and infinities are refused.

    The decoder limits nesting to about 200 levels, so that the result can be encoded again.

    Raises:
        InvalidReading: not JSON, or nested too deeply.
    """
    encoded = data.encode(errors="surrogatepass") if isinstance(data, str) else data
    raw = encoded.removeprefix(BOM_UTF8)
    try:
        return from_json(raw, allow_inf_nan=False)
    except ValueError as error:
        raise InvalidReading("", _json_error(raw, str(error))) from None


def _json_error(raw: bytes, error: str) -> str:
    if error.startswith("recursion limit"):
        return "nested too deeply"
    try:
        from_json(raw, allow_inf_nan=True)
    except ValueError:
        return f"not JSON: {error}"
    return f"not JSON, which has no NaN and no Infinity: {error}"


_ERROR_TEXTS = {
    "string_pattern_mismatch": "holds a character that is not allowed there",
    "string_unicode": "must be Unicode text",
    "uuid_parsing": "must be a UUID",
}
"""Texts for the error types whose own text quotes the value or is too technical."""


def invalid_reading(error: ValidationError) -> InvalidReading:
    """Return the first error of a validation, without the invalid value."""
    first = error.errors(include_url=False, include_input=False)[0]
    return InvalidReading(
        ".".join(str(part) for part in first["loc"]), error_text(first["type"], first["msg"])
    )


def error_text(kind: str, message: str) -> str:
    """Return the text for an error of pydantic, by its type and message, without the invalid value."""
    return _ERROR_TEXTS.get(kind) or message.removeprefix("Value error, ")


def derived_message_id(device_id: str, boot: int, seq: int, device_time_ms: int) -> UUID:
    """Return the identity of a reading that a bracelet numbered, the same each time it is fetched.

    Sequence numbers start again after a restart, and the clock starts again after an empty battery; only
    together with the restart counter do they identify a reading.
    """
    return uuid5(NAMESPACE, f"{device_id}/{boot}/{seq}/{device_time_ms}")
